#include "hetero/trainer/optimizer_settings.h"

#include <optional>

#include "hetero/base/status.h"
#include "hetero/optim/learning_rate.h"
#include "hetero/trainer/config.h"

namespace hetero {
namespace {

LearningRateStyle StyleOf(proto::LearningRateSchedule::Style style) {
  switch (style) {
    case proto::LearningRateSchedule::LINEAR:
      return LearningRateStyle::kLinear;
    case proto::LearningRateSchedule::COSINE:
      return LearningRateStyle::kCosine;
    case proto::LearningRateSchedule::INVERSE_SQUARE_ROOT:
      return LearningRateStyle::kInverseSquareRoot;
    case proto::LearningRateSchedule::WARMUP_STABLE_DECAY:
      return LearningRateStyle::kWarmupStableDecay;
    default:
      return LearningRateStyle::kConstant;
  }
}

std::optional<DecayTail> TailOf(const proto::LearningRateSchedule& schedule) {
  switch (schedule.tail()) {
    case proto::LearningRateSchedule::TAIL_LINEAR:
      return DecayTail::kLinear;
    case proto::LearningRateSchedule::TAIL_COSINE:
      return DecayTail::kCosine;
    case proto::LearningRateSchedule::TAIL_EXPONENTIAL:
      return DecayTail::kExponential;
    case proto::LearningRateSchedule::TAIL_MINUS_SQRT:
      return DecayTail::kMinusSqrt;
    default:
      return std::nullopt;
  }
}

}  // namespace

absl::StatusOr<OptimizerSettings> MakeOptimizerSettings(const proto::RunConfig& config) {
  const proto::LearningRateSchedule& schedule = config.schedule();
  const ScheduleLengths lengths = LengthsOf(config);
  const LearningRateOptions options{.style = StyleOf(schedule.style()),
                                    .peak = schedule.peak(),
                                    .minimum = schedule.minimum(),
                                    .initial = schedule.initial(),
                                    .warmup_samples = lengths.warmup,
                                    .decay_samples = lengths.decay,
                                    .tail_samples = lengths.tail,
                                    .tail = TailOf(schedule)};
  HETERO_ASSIGN_OR_RETURN(const LearningRateSchedule rate, LearningRateSchedule::Make(options));
  const proto::AdamW& adamw = config.optimizer().adamw();
  return OptimizerSettings{.adamw = {.beta1 = adamw.beta1(),
                                     .beta2 = adamw.beta2(),
                                     .epsilon = adamw.epsilon(),
                                     .weight_decay = adamw.weight_decay()},
                           .clip_gradient_norm = config.optimizer().clip_gradient_norm(),
                           .schedule = rate};
}

}  // namespace hetero
