#include "hetero/trainer/config/batch_rules.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/data/sample_order.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/config/batch_schedule.h"
#include "hetero/trainer/config/supported_grids.h"

namespace hetero {
namespace {

using proto::RunConfig;

// A step's program lists all of them, for every stage.
constexpr int64_t kMaxMicrobatches = 8192;

// Tokens, patches and rows of a lane's microbatch are counted in 32 bits; an image has up to four
// patches a token, and class tokens.
constexpr int64_t kMaxLaneTokens = int64_t{1} << 28;

struct Lanes {
  std::vector<GridSpec> specs;  // that stand on their own
  std::string_view owner;       // of the samples
  int64_t of_owner = 0;         // 0: its grid is absent or broken
};

Lanes SoundGrids(const RunConfig& config, std::string_view sample_owner) {
  Lanes lanes{.owner = sample_owner};
  for (const GridSpec& spec : SupportedGrids(config)) {
    if (!Validate(spec).empty()) continue;
    if (spec.name == sample_owner) lanes.of_owner = spec.num_lanes();
    lanes.specs.push_back(spec);
  }
  return lanes;
}

void CheckBatch(const BatchSizes& batch, const Lanes& lanes, Violations& violations) {
  const int64_t unit = batch.micro * lanes.of_owner;
  const data::BatchLayout layout = {.global_batch_size = batch.global,
                                    .samples_per_microbatch = unit};
  const std::string field = batch.GlobalField();
  const std::string_view has = batch.schedule.empty() ? " is " : " has steps of ";
  if (!layout.Divides()) {
    Violation violation = Refuse(
        field, absl::StrCat(has, batch.global, ", must be a multiple of ", unit,
                            " (micro_batch_size ", batch.micro, " * ",
                            Counted(lanes.of_owner, absl::StrCat(lanes.owner, " lane")), ")"));
    const int64_t below = batch.global / unit * unit;
    std::array<int64_t, 2> multiples = {below, below + unit};
    // A larger batch of evaluation may need more samples than there are.
    const bool nearer_above = batch.prefix.empty() && batch.global - below > unit / 2;
    if (nearer_above) std::swap(multiples[0], multiples[1]);
    for (const int64_t nearest : multiples) {
      if (nearest < 1 || nearest > MaxGlobalBatchSize()) continue;
      violation.corrections.push_back({batch.WithGlobal(nearest)});
    }
    if (violation.corrections.empty()) violation.corrections.push_back({{batch.MicroField(), "1"}});
    violations.Add(std::move(violation));
  } else if (layout.NumMicrobatches() > kMaxMicrobatches) {
    violations.Add(Refuse(
        field,
        absl::StrCat(has, batch.global, ", makes ", layout.NumMicrobatches(), " microbatches of ",
                     Counted(unit, "sample"), ", must make at most ", kMaxMicrobatches),
        {batch.WithGlobal(kMaxMicrobatches * unit).value}));
  }
}

void CheckTokens(const RunConfig& config, const BatchSizes& batch, const Lanes& lanes,
                 Violations& violations) {
  if (!violations.Sound({"sequence_length"})) return;
  for (const GridSpec& spec : lanes.specs) {
    const int64_t samples = std::max<int64_t>(1, batch.micro * lanes.of_owner / spec.num_lanes());
    if (config.sequence_length() <= kMaxLaneTokens / samples) continue;
    Violation violation =
        Refuse("sequence_length",
               absl::StrCat(" is ", config.sequence_length(), ", in each of the ",
                            Counted(samples, "sample"), " of a microbatch on a lane of ", spec.name,
                            " (", batch.MicroField(), " ", batch.micro, "); must be at most ",
                            kMaxLaneTokens, " tokens together"));
    if (kMaxLaneTokens / samples >= 1) {
      violation.corrections.push_back(
          {{"sequence_length", absl::StrCat(kMaxLaneTokens / samples)}});
    }
    violations.Add(std::move(violation));
    return;
  }
}

std::vector<BatchSizes> TrainingBatches(const RunConfig& config) {
  if (!config.has_batch_size_schedule()) {
    return {
        {.prefix = "", .micro = config.micro_batch_size(), .global = config.global_batch_size()}};
  }
  std::vector<BatchSizes> batches;
  for (const int64_t size : ScheduledSizes(config)) {
    batches.push_back({.prefix = "",
                       .micro = config.micro_batch_size(),
                       .global = size,
                       .schedule = config.batch_size_schedule(),
                       .entry = batches.size()});
  }
  return batches;
}

}  // namespace

std::string BatchSizes::MicroField() const { return absl::StrCat(prefix, "micro_batch_size"); }

std::string BatchSizes::GlobalField() const {
  return schedule.empty() ? absl::StrCat(prefix, "global_batch_size") : "batch_size_schedule";
}

Assignment BatchSizes::WithGlobal(int64_t size) const {
  return {GlobalField(), schedule.empty() ? absl::StrCat(size) : WithSize(schedule, entry, size)};
}

BatchSizes EvaluationBatch(const RunConfig& config) {
  const proto::Evaluation& evaluation = config.evaluation();
  return {.prefix = "evaluation.",
          .micro = evaluation.has_micro_batch_size() ? evaluation.micro_batch_size()
                                                     : config.micro_batch_size(),
          .global = evaluation.has_global_batch_size() ? evaluation.global_batch_size()
                                                       : TrainingBatches(config).back().global};
}

std::vector<BatchSizes> SoundBatches(const RunConfig& config, const Violations& known) {
  if (!known.Sound({"batch_size_schedule"})) return {};
  std::vector<BatchSizes> batches = TrainingBatches(config);
  const proto::Evaluation& evaluation = config.evaluation();
  if (evaluation.has_micro_batch_size() || evaluation.has_global_batch_size()) {
    batches.push_back(EvaluationBatch(config));
  }
  std::erase_if(batches, [&](const BatchSizes& batch) {
    return !known.Sound(
        {batch.MicroField(), batch.GlobalField(), "micro_batch_size", "global_batch_size"});
  });
  return batches;
}

std::vector<Violation> CheckLanes(const RunConfig& config, std::string_view sample_owner,
                                  const Violations& known) {
  std::vector<Violation> violations;
  const Lanes lanes = SoundGrids(config, sample_owner);
  if (lanes.of_owner == 0) return violations;
  for (const BatchSizes& batch : SoundBatches(config, known)) {
    const bool judged = batch.entry > 0 || !batch.prefix.empty();
    if (judged && batch.micro == config.micro_batch_size()) continue;
    for (Violation& violation : ValidateLanes(lanes.specs, sample_owner, batch.micro)) {
      if (!batch.prefix.empty()) {
        violation.message = absl::StrCat("evaluation: ", violation.message);
      }
      for (Correction& correction : violation.corrections) {
        if (correction[0].path == "micro_batch_size") correction[0].path = batch.MicroField();
      }
      violations.push_back(std::move(violation));
    }
  }
  return violations;
}

void CheckBatches(const RunConfig& config, std::string_view sample_owner, Violations& violations) {
  const Lanes lanes = SoundGrids(config, sample_owner);
  if (lanes.of_owner == 0) return;
  // Evaluation is judged also where training's sizes do not fit each other.
  for (const BatchSizes& batch : SoundBatches(config, violations)) {
    CheckBatch(batch, lanes, violations);
    if (batch.entry == 0) CheckTokens(config, batch, lanes, violations);
  }
}

}  // namespace hetero
