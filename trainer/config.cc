#include "hetero/trainer/config.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/grid/config/from_proto.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/field_rules.h"

namespace hetero {
namespace {

using proto::LearningRateSchedule;
using proto::RunConfig;

void Append(std::vector<Violation>& violations, std::vector<Violation> more) {
  violations.insert(violations.end(), std::make_move_iterator(more.begin()),
                    std::make_move_iterator(more.end()));
}

// Longer than any step or evaluation batch keeps a healthy rank away from its peers.
constexpr double kDefaultCollectiveTimeoutSeconds = 300;

// Longer than any glitch of single batches lasts.
constexpr int64_t kDefaultDivergenceSteps = 10;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Lanes of the language grid; nullopt when that grid is absent or broken.
std::optional<int64_t> LanguageLanes(std::span<const GridSpec> specs) {
  for (const GridSpec& spec : specs) {
    if (spec.name != kLanguageModule || !Validate(spec).empty()) continue;
    return spec.num_ranks / (spec.tp * spec.cp * spec.pp);
  }
  return std::nullopt;
}

void CheckGrids(const RunConfig& config, std::vector<Violation>& violations) {
  const std::vector<GridSpec> specs = GridSpecs(config);
  const auto refuse = [&](const GridSpec& spec, std::string_view field, int64_t size) {
    if (size <= 1) return;
    const std::string path = absl::StrCat(spec.name, ".", field);
    violations.push_back(
        {path, absl::StrCat(path, " is ", size, "; a run supports 1 only; nearest: 1")});
  };
  for (const GridSpec& spec : specs) {
    refuse(spec, "gtp_remat", spec.gtp_remat);
    refuse(spec, "expt_gtp_remat", spec.expt_gtp_remat);
  }
  for (const GridSpec& spec : specs) refuse(spec, "cp", spec.cp);
  for (const GridSpec& spec : specs) {
    refuse(spec, "tp", spec.tp);
    refuse(spec, "expt_tp", spec.expt_tp);
    refuse(spec, "ep", spec.ep);
    refuse(spec, "pp", spec.pp);
  }

  absl::StatusOr<int64_t> world_size = ParseLaunch(config.launch());
  if (config.has_launch() && !world_size.ok()) {
    violations.push_back({"launch", std::string(world_size.status().message())});
  }
  const bool complete = std::all_of(
      config.grids().begin(), config.grids().end(),
      [](const proto::GridSpec& grid) { return grid.has_num_ranks() && grid.has_rank_offset(); });
  if (!complete || specs.empty() || !world_size.ok()) return;
  Append(violations, Validate(specs, *world_size, config.micro_batch_size()));
  const bool evaluates_otherwise =
      config.evaluation().has_micro_batch_size() &&
      config.evaluation().micro_batch_size() != config.micro_batch_size();
  if (evaluates_otherwise) {
    for (Violation& violation : ValidateLanes(specs, config.evaluation().micro_batch_size())) {
      violation.message = absl::StrCat("evaluation: ", violation.message);
      violations.push_back(std::move(violation));
    }
  }
}

// A global batch is a whole number of microbatches.
void CheckBatch(std::string_view path, int64_t global, int64_t micro, int64_t lanes,
                std::vector<Violation>& violations) {
  if (global < 1 || micro < 1 || global % (micro * lanes) == 0) return;
  const int64_t unit = micro * lanes;
  const int64_t below = global / unit * unit;
  violations.push_back(
      {std::string(path),
       absl::StrCat(path, " is ", global, ", must be a multiple of ", unit, " (micro_batch_size ",
                    micro, " * ", lanes, " language lanes); nearest: ",
                    below > 0 ? absl::StrCat(below, " or ") : "", below + unit)});
}

int64_t EvaluationMicro(const RunConfig& config) {
  return config.evaluation().has_micro_batch_size() ? config.evaluation().micro_batch_size()
                                                    : config.micro_batch_size();
}

int64_t EvaluationGlobal(const RunConfig& config) {
  return config.evaluation().has_global_batch_size() ? config.evaluation().global_batch_size()
                                                     : config.global_batch_size();
}

int64_t TrainSteps(const RunConfig& config) {
  return config.has_train_samples() ? CeilDivide(config.train_samples(), config.global_batch_size())
                                    : config.train_steps();
}

void CheckSchedule(const RunConfig& config, std::vector<Violation>& violations) {
  const LearningRateSchedule& schedule = config.schedule();
  const bool in_steps = config.has_train_steps() || schedule.has_warmup_steps() ||
                        schedule.has_decay_steps() || schedule.has_tail_steps();
  const bool in_samples = config.has_train_samples() || schedule.has_warmup_samples() ||
                          schedule.has_decay_samples() || schedule.has_tail_samples();
  if (in_steps && in_samples) {
    violations.push_back({"schedule",
                          "train and schedule lengths are given partly in steps and partly in "
                          "samples; give all of them in steps or all in samples"});
  }
  if (schedule.minimum() > schedule.peak()) {
    violations.push_back(
        {"schedule.minimum", absl::StrCat("schedule.minimum is ", schedule.minimum(),
                                          ", must be at most schedule.peak ", schedule.peak(),
                                          "; nearest: ", schedule.peak())});
  }
  if (schedule.initial() > schedule.peak()) {
    violations.push_back(
        {"schedule.initial", absl::StrCat("schedule.initial is ", schedule.initial(),
                                          ", must be at most schedule.peak ", schedule.peak(),
                                          "; nearest: ", schedule.peak())});
  }
  const ScheduleLengths lengths = LengthsOf(config);
  if (lengths.decay > 0 && lengths.warmup >= lengths.decay) {
    violations.push_back(
        {"schedule.warmup",
         absl::StrCat("schedule warm-up takes ", lengths.warmup,
                      " samples, must end before the decay does at sample ", lengths.decay,
                      "; nearest: ",
                      in_samples ? absl::StrCat("warmup_samples ", lengths.decay - 1)
                                 : absl::StrCat("warmup_steps ", (lengths.decay - 1) /
                                                                     config.global_batch_size()))});
  }
  const bool has_tail = schedule.style() == LearningRateSchedule::WARMUP_STABLE_DECAY;
  if (has_tail && (!lengths.tail || schedule.tail() == LearningRateSchedule::TAIL_UNSPECIFIED)) {
    violations.push_back({"schedule.tail",
                          "schedule.style is WARMUP_STABLE_DECAY, which needs schedule.tail and "
                          "tail_steps or tail_samples"});
  } else if (has_tail && *lengths.tail > lengths.decay) {
    violations.push_back(
        {"schedule.tail",
         absl::StrCat("schedule tail takes ", *lengths.tail, " samples, must be at most the ",
                      lengths.decay, " of the whole decay; nearest: ", lengths.decay)});
  } else if (!has_tail && (lengths.tail || schedule.has_tail())) {
    violations.push_back(
        {"schedule.tail", absl::StrCat("schedule.tail and its length belong to style "
                                       "WARMUP_STABLE_DECAY, schedule.style is ",
                                       LearningRateSchedule::Style_Name(schedule.style()))});
  }
}

}  // namespace

ScheduleLengths LengthsOf(const RunConfig& config) {
  const LearningRateSchedule& schedule = config.schedule();
  const int64_t step = config.global_batch_size();
  ScheduleLengths lengths;
  lengths.warmup =
      schedule.has_warmup_samples() ? schedule.warmup_samples() : schedule.warmup_steps() * step;
  lengths.decay = schedule.has_decay_samples() ? schedule.decay_samples()
                  : schedule.has_decay_steps() ? schedule.decay_steps() * step
                  : config.has_train_samples() ? config.train_samples()
                                               : config.train_steps() * step;
  if (schedule.has_tail_samples()) lengths.tail = schedule.tail_samples();
  if (schedule.has_tail_steps()) lengths.tail = schedule.tail_steps() * step;
  return lengths;
}

absl::StatusOr<int64_t> ParseLaunch(std::string_view launch) {
  std::string_view count = launch;
  int64_t num_ranks = 0;
  if (absl::ConsumePrefix(&count, "threads:") && absl::SimpleAtoi(count, &num_ranks) &&
      num_ranks >= 1) {
    return num_ranks;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "launch is '", launch, "', must be threads:N with N at least 1; nearest: threads:1"));
}

std::vector<GridSpec> GridSpecs(const RunConfig& config) {
  std::vector<GridSpec> specs;
  for (const proto::GridSpec& grid : config.grids()) specs.push_back(FromProto(grid));
  return specs;
}

std::vector<Violation> Validate(const RunConfig& config) {
  std::vector<Violation> violations;
  CheckGrids(config, violations);
  Append(violations, CheckFieldRules(config, ""));
  if (config.duration_case() == RunConfig::DURATION_NOT_SET) {
    violations.push_back(
        {"train_steps", "neither train_steps nor train_samples is set; give one of them"});
  }
  if (config.has_data() && config.data().source_case() == proto::Data::SOURCE_NOT_SET) {
    violations.push_back(
        {"data", "data names no source; give one of fashion_mnist, web_dataset, mock"});
  }
  if (config.precision() == RunConfig::BF16 && config.device() != RunConfig::CUDA) {
    violations.push_back(
        {"precision", absl::StrCat("precision is BF16, which needs device CUDA; device is ",
                                   RunConfig::Device_Name(config.device()), "; nearest: F32")});
  }
  if (const std::optional<int64_t> lanes = LanguageLanes(GridSpecs(config))) {
    CheckBatch("global_batch_size", config.global_batch_size(), config.micro_batch_size(), *lanes,
               violations);
    if (config.has_evaluation()) {
      CheckBatch("evaluation.global_batch_size", EvaluationGlobal(config), EvaluationMicro(config),
                 *lanes, violations);
    }
  }
  if (config.has_schedule()) CheckSchedule(config, violations);
  return violations;
}

RunSizes SizesOf(const RunConfig& config) {
  return {.world_size = ParseLaunch(config.launch()).value(), .train_steps = TrainSteps(config)};
}

RunConfig Resolve(RunConfig config) {
  LearningRateSchedule& schedule = *config.mutable_schedule();
  const bool in_samples = config.has_train_samples();
  if (schedule.warmup_case() == LearningRateSchedule::WARMUP_NOT_SET) {
    in_samples ? schedule.set_warmup_samples(0) : schedule.set_warmup_steps(0);
  }
  if (schedule.decay_case() == LearningRateSchedule::DECAY_NOT_SET) {
    in_samples ? schedule.set_decay_samples(config.train_samples())
               : schedule.set_decay_steps(config.train_steps());
  }
  if (!schedule.has_initial()) schedule.set_initial(0);
  if (!config.has_precision()) config.set_precision(RunConfig::F32);
  if (!config.has_collective_timeout_seconds()) {
    config.set_collective_timeout_seconds(kDefaultCollectiveTimeoutSeconds);
  }
  if (!config.has_divergence_steps()) config.set_divergence_steps(kDefaultDivergenceSteps);
  if (config.has_evaluation()) {
    proto::Evaluation& evaluation = *config.mutable_evaluation();
    const int64_t micro = EvaluationMicro(config);
    const int64_t global = EvaluationGlobal(config);
    evaluation.set_micro_batch_size(micro);
    evaluation.set_global_batch_size(global);
  }
  return config;
}

}  // namespace hetero
