#include "hetero/trainer/config/learning_rate_settings.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/optim/config/from_proto.h"
#include "hetero/trainer/config/batch_schedule.h"

namespace hetero {
namespace {

using Schedule = proto::LearningRateSchedule;
using proto::RunConfig;

constexpr std::string_view kSteps = "steps";
constexpr std::string_view kSamples = "samples";

// What a configuration may give a length in.
struct Length {
  std::string_view name;  // "schedule.warmup"
  std::optional<int64_t> steps;
  std::optional<int64_t> samples;
};

std::vector<Length> LengthsOf(const Schedule& schedule) {
  std::vector<Length> lengths = {
      {"schedule.warmup", {}, {}}, {"schedule.decay", {}, {}}, {"schedule.tail", {}, {}}};
  if (schedule.has_warmup_steps()) lengths[0].steps = schedule.warmup_steps();
  if (schedule.has_warmup_samples()) lengths[0].samples = schedule.warmup_samples();
  if (schedule.has_decay_steps()) lengths[1].steps = schedule.decay_steps();
  if (schedule.has_decay_samples()) lengths[1].samples = schedule.decay_samples();
  if (schedule.has_tail_steps()) lengths[2].steps = schedule.tail_steps();
  if (schedule.has_tail_samples()) lengths[2].samples = schedule.tail_samples();
  return lengths;
}

std::optional<int64_t> In(std::string_view unit, const Length& length) {
  return unit == kSteps ? length.steps : length.samples;
}

// One rule for all lengths, whether of the command line, a file or a recipe: the run's unit is
// theirs. A length of samples that is less than a step is one step.
void CheckUnits(const RunConfig& config, Violations& violations) {
  const std::string_view unit = config.has_train_samples() ? kSamples : kSteps;
  const std::string_view other = unit == kSteps ? kSamples : kSteps;
  const data::BatchSchedule batches = BatchScheduleOf(config);
  const auto convert = [&](int64_t length, std::string_view to) {
    return absl::StrCat(to == kSamples ? batches.FirstSample(length) : batches.NumSteps(length));
  };
  Correction correction;
  std::vector<std::string> fields;
  bool all_differ = true;
  for (const Length& length : LengthsOf(config.schedule())) {
    if (In(unit, length)) all_differ = false;
    const std::optional<int64_t> foreign = In(other, length);
    if (!foreign) continue;
    fields.push_back(absl::StrCat(length.name, "_", other));
    correction.push_back({absl::StrCat(length.name, "_", unit), convert(*foreign, unit)});
  }
  if (correction.empty()) return;
  Violation violation{
      .field = "schedule",
      .message = absl::StrCat("train_", unit, " is set beside ", absl::StrJoin(fields, ", "),
                              "; give all lengths in steps or all in samples"),
      .corrections = {std::move(correction)}};
  if (all_differ) {
    const int64_t run = unit == kSamples ? config.train_samples() : config.train_steps();
    violation.corrections.push_back({{absl::StrCat("train_", other), convert(run, other)}});
  }
  violations.Add(std::move(violation));
}

}  // namespace

LearningRateSettings LearningRateSettingsOf(const RunConfig& config) {
  const Schedule& schedule = config.schedule();
  const std::vector<Length> lengths = LengthsOf(schedule);
  const bool in_samples = config.has_train_samples();
  LearningRateSettings settings{
      .unit = in_samples ? kSamples : kSteps, .options = {}, .changes = {}};
  const int64_t run = in_samples ? config.train_samples() : config.train_steps();
  LearningRateOptions& options = settings.options;
  options = FromProto(schedule);
  options.warmup_samples = In(settings.unit, lengths[0]).value_or(0);
  options.decay_samples = In(settings.unit, lengths[1]).value_or(std::max<int64_t>(run, 1));
  options.tail_samples = In(settings.unit, lengths[2]);
  if (In(settings.unit, lengths[1])) return settings;
  const auto cut = [&](std::string_view name, int64_t& length, int64_t longest) {
    if (length <= longest) return;
    settings.changes.push_back(absl::StrCat("schedule.", name, "_", settings.unit, " is cut from ",
                                            length, " to ", longest, ": the run has ",
                                            Counted(run, in_samples ? "sample" : "step")));
    length = longest;
  };
  cut("warmup", options.warmup_samples, options.decay_samples - 1);
  if (options.tail_samples && options.style == LearningRateStyle::kWarmupStableDecay) {
    cut("tail", *options.tail_samples, options.decay_samples - options.warmup_samples);
  }
  return settings;
}

void CheckLearningRate(const RunConfig& config, Violations& violations) {
  const bool sound = config.has_schedule() &&
                     config.duration_case() != RunConfig::DURATION_NOT_SET &&
                     violations.Sound({"schedule", "global_batch_size", "batch_size_schedule",
                                       "sequence_length", "train_steps", "train_samples"});
  if (!sound) return;
  CheckUnits(config, violations);
  if (!violations.Sound({"schedule"})) return;
  const LearningRateSettings settings = LearningRateSettingsOf(config);
  for (Violation& violation : Validate(settings.options, settings.unit)) {
    violations.Add(Below("schedule", std::move(violation)));
  }
}

LearningRateOptions InSamples(const LearningRateSettings& settings,
                              const data::BatchSchedule& batches) {
  LearningRateOptions options = settings.options;
  if (settings.unit == kSamples) return options;
  const int64_t decay_steps = options.decay_samples;
  options.warmup_samples = batches.FirstSample(options.warmup_samples);
  options.decay_samples = batches.FirstSample(decay_steps);
  if (options.tail_samples) {
    options.tail_samples =
        options.decay_samples - batches.FirstSample(decay_steps - *options.tail_samples);
  }
  return options;
}

void SetLengths(const LearningRateSettings& settings, Schedule& schedule) {
  const LearningRateOptions& options = settings.options;
  if (settings.unit == kSteps) {
    schedule.set_warmup_steps(options.warmup_samples);
    schedule.set_decay_steps(options.decay_samples);
    if (options.tail_samples) schedule.set_tail_steps(*options.tail_samples);
  } else {
    schedule.set_warmup_samples(options.warmup_samples);
    schedule.set_decay_samples(options.decay_samples);
    if (options.tail_samples) schedule.set_tail_samples(*options.tail_samples);
  }
}

}  // namespace hetero
