#include "hetero/optim/config/from_proto.h"

#include <optional>

namespace hetero {
namespace {

using Schedule = proto::LearningRateSchedule;

LearningRateStyle StyleOf(Schedule::Style style) {
  switch (style) {
    case Schedule::LINEAR:
      return LearningRateStyle::kLinear;
    case Schedule::COSINE:
      return LearningRateStyle::kCosine;
    case Schedule::INVERSE_SQUARE_ROOT:
      return LearningRateStyle::kInverseSquareRoot;
    case Schedule::WARMUP_STABLE_DECAY:
      return LearningRateStyle::kWarmupStableDecay;
    default:
      return LearningRateStyle::kConstant;
  }
}

std::optional<DecayTail> TailOf(Schedule::Tail tail) {
  switch (tail) {
    case Schedule::TAIL_LINEAR:
      return DecayTail::kLinear;
    case Schedule::TAIL_COSINE:
      return DecayTail::kCosine;
    case Schedule::TAIL_EXPONENTIAL:
      return DecayTail::kExponential;
    case Schedule::TAIL_MINUS_SQRT:
      return DecayTail::kMinusSqrt;
    default:
      return std::nullopt;
  }
}

}  // namespace

AdamWOptions FromProto(const proto::AdamW& message) {
  return {.beta1 = message.beta1(),
          .beta2 = message.beta2(),
          .epsilon = message.epsilon(),
          .weight_decay = message.weight_decay()};
}

LearningRateOptions FromProto(const Schedule& message) {
  return {.style = StyleOf(message.style()),
          .peak = message.peak(),
          .minimum = message.minimum(),
          .initial = message.initial(),
          .tail = TailOf(message.tail())};
}

}  // namespace hetero
