#include "hetero/trainer/batch_rules.h"

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rule.pb.h"
#include "hetero/grid/config/from_proto.h"
#include "hetero/grid/layout.h"

namespace hetero {
namespace {

using proto::RunConfig;

// A step's program lists all of them, for every stage.
constexpr int64_t kMaxMicrobatches = 8192;

// Tokens, patches and rows of a lane's microbatch are counted in 32 bits; an image has up to four
// patches a token, and class tokens.
constexpr int64_t kMaxLaneTokens = int64_t{1} << 28;

// What the field's own rule says.
int64_t MaxGlobalBatchSize() {
  const google::protobuf::FieldDescriptor& field =
      *RunConfig::descriptor()->FindFieldByName("global_batch_size");
  return static_cast<int64_t>(field.options().GetExtension(proto::rule).at_most());
}

struct Lanes {
  std::vector<GridSpec> specs;  // that stand on their own
  int64_t language = 0;         // lanes; 0: that grid is absent or broken
};

int64_t LanesOf(const GridSpec& spec) { return spec.num_ranks / (spec.tp * spec.cp * spec.pp); }

Lanes SoundGrids(const RunConfig& config) {
  Lanes lanes;
  for (const proto::GridSpec& grid : config.grids()) {
    const GridSpec spec = FromProto(grid);
    if (!Validate(spec).empty()) continue;
    if (spec.name == kLanguageModule) lanes.language = LanesOf(spec);
    lanes.specs.push_back(spec);
  }
  return lanes;
}

// Those that differ.
std::vector<BatchSizes> Batches(const RunConfig& config) {
  std::vector<BatchSizes> batches = {TrainingBatch(config)};
  const proto::Evaluation& evaluation = config.evaluation();
  if (evaluation.has_micro_batch_size() || evaluation.has_global_batch_size()) {
    batches.push_back(EvaluationBatch(config));
  }
  return batches;
}

// Whether all that `batch` reads is sound.
bool Sound(const BatchSizes& batch, const Violations& violations) {
  return violations.Sound(
      {batch.MicroField(), batch.GlobalField(), "micro_batch_size", "global_batch_size"});
}

int64_t NearestMultiple(int64_t number, int64_t unit) {
  return std::max<int64_t>(1, (number + unit / 2) / unit) * unit;
}

// Adds to `correction`, which makes the microbatches of `batch` have `micro` samples, the global
// sizes that then hold whole ones.
void KeepWhole(const RunConfig& config, const BatchSizes& batch, int64_t micro, int64_t lanes,
               Correction& correction) {
  const int64_t unit = micro * lanes;
  const auto keep = [&](const BatchSizes& kept) {
    if (kept.global % unit == 0) return;
    correction.push_back({kept.GlobalField(), absl::StrCat(NearestMultiple(kept.global, unit))});
  };
  keep(batch);
  const bool evaluation_follows = batch.prefix.empty() && config.has_evaluation() &&
                                  !config.evaluation().has_micro_batch_size() &&
                                  config.evaluation().has_global_batch_size();
  if (evaluation_follows) keep(EvaluationBatch(config));
}

void CheckBatch(const RunConfig& config, const BatchSizes& batch, const Lanes& lanes,
                Violations& violations) {
  const int64_t unit = batch.micro * lanes.language;
  const std::string field = batch.GlobalField();
  if (batch.global % unit != 0) {
    Violation violation =
        Refuse(field, absl::StrCat(" is ", batch.global, ", must be a multiple of ", unit,
                                   " (micro_batch_size ", batch.micro, " * ", lanes.language,
                                   " language lanes)"));
    const int64_t below = batch.global / unit * unit;
    for (const int64_t nearest : {below, below + unit}) {
      if (nearest < 1 || nearest > MaxGlobalBatchSize()) continue;
      violation.corrections.push_back({{field, absl::StrCat(nearest)}});
    }
    if (violation.corrections.empty()) {
      Correction correction = {{batch.MicroField(), "1"}};
      KeepWhole(config, batch, 1, lanes.language, correction);
      violation.corrections.push_back(std::move(correction));
    }
    violations.Add(std::move(violation));
  } else if (batch.global / unit > kMaxMicrobatches) {
    violations.Add(Refuse(
        field,
        absl::StrCat(" is ", batch.global, ", makes ", batch.global / unit, " microbatches of ",
                     unit, " samples, must make at most ", kMaxMicrobatches),
        {absl::StrCat(kMaxMicrobatches * unit)}));
  }
}

void CheckTokens(const RunConfig& config, const BatchSizes& batch, const Lanes& lanes,
                 Violations& violations) {
  if (!violations.Sound({"sequence_length"})) return;
  for (const GridSpec& spec : lanes.specs) {
    const int64_t samples = std::max<int64_t>(1, batch.micro * lanes.language / LanesOf(spec));
    if (config.sequence_length() <= kMaxLaneTokens / samples) continue;
    Violation violation = Refuse(
        "sequence_length",
        absl::StrCat(" is ", config.sequence_length(), ", in each of the ", samples,
                     " samples of a microbatch on a lane of ", spec.name, " (", batch.MicroField(),
                     " ", batch.micro, "); must be at most ", kMaxLaneTokens, " tokens together"));
    if (kMaxLaneTokens / samples >= 1) {
      violation.corrections.push_back(
          {{"sequence_length", absl::StrCat(kMaxLaneTokens / samples)}});
    }
    violations.Add(std::move(violation));
    return;
  }
}

}  // namespace

std::string BatchSizes::MicroField() const { return absl::StrCat(prefix, "micro_batch_size"); }
std::string BatchSizes::GlobalField() const { return absl::StrCat(prefix, "global_batch_size"); }

BatchSizes TrainingBatch(const RunConfig& config) {
  return {.prefix = "", .micro = config.micro_batch_size(), .global = config.global_batch_size()};
}

BatchSizes EvaluationBatch(const RunConfig& config) {
  const proto::Evaluation& evaluation = config.evaluation();
  return {.prefix = "evaluation.",
          .micro = evaluation.has_micro_batch_size() ? evaluation.micro_batch_size()
                                                     : config.micro_batch_size(),
          .global = evaluation.has_global_batch_size() ? evaluation.global_batch_size()
                                                       : config.global_batch_size()};
}

std::vector<Violation> CheckLanes(const RunConfig& config, const Violations& known) {
  std::vector<Violation> violations;
  const Lanes lanes = SoundGrids(config);
  if (lanes.language == 0) return violations;
  for (const BatchSizes& batch : Batches(config)) {
    const bool same = !batch.prefix.empty() && batch.micro == config.micro_batch_size();
    if (same || !Sound(batch, known)) continue;
    for (Violation& violation : ValidateLanes(lanes.specs, batch.micro)) {
      if (!batch.prefix.empty()) {
        violation.message = absl::StrCat("evaluation: ", violation.message);
      }
      for (Correction& correction : violation.corrections) {
        int64_t micro = 0;
        if (correction[0].path != "micro_batch_size") continue;
        CHECK(absl::SimpleAtoi(correction[0].value, &micro));
        correction[0].path = batch.MicroField();
        KeepWhole(config, batch, micro, lanes.language, correction);
      }
      violations.push_back(std::move(violation));
    }
  }
  return violations;
}

void CheckBatches(const RunConfig& config, Violations& violations) {
  const Lanes lanes = SoundGrids(config);
  if (lanes.language == 0) return;
  // Evaluation is judged also where training's sizes do not fit each other.
  std::vector<BatchSizes> batches = Batches(config);
  std::erase_if(batches, [&](const BatchSizes& batch) { return !Sound(batch, violations); });
  for (const BatchSizes& batch : batches) {
    CheckBatch(config, batch, lanes, violations);
    CheckTokens(config, batch, lanes, violations);
  }
}

}  // namespace hetero
