#include "hetero/optim/config/from_proto.h"

#include <algorithm>
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

WeightDecayStyle StyleOf(proto::WeightDecaySchedule::Style style) {
  return style == proto::WeightDecaySchedule::COSINE ? WeightDecayStyle::kCosine
                                                     : WeightDecayStyle::kLinear;
}

}  // namespace

AdamWOptions FromProto(const proto::AdamW& message) {
  return {.beta1 = message.beta1(),
          .beta2 = message.beta2(),
          .epsilon = message.epsilon(),
          .weight_decay = message.weight_decay()};
}

BucketOptions FromProto(const proto::Buckets& message) {
  BucketOptions options{.num_buckets = std::nullopt,
                        .bucket_elements = std::nullopt,
                        .pad_for_bus_bandwidth = message.pad_for_bus_bandwidth()};
  if (message.has_num_buckets()) options.num_buckets = message.num_buckets();
  if (message.has_bucket_elements()) options.bucket_elements = message.bucket_elements();
  return options;
}

ModuleOptimizerOptions ModuleOptionsOf(const proto::Optimizer& message, std::string_view module) {
  ModuleOptimizerOptions options{.adamw = FromProto(message.adamw()),
                                 .scheduled_weight_decay = true,
                                 .buckets = FromProto(message.buckets())};
  const auto own = std::ranges::find_if(
      message.per_module(),
      [&](const proto::ModuleOptimizer& candidate) { return candidate.module() == module; });
  if (own == message.per_module().end()) return options;
  if (own->has_learning_rate_scale()) options.learning_rate_scale = own->learning_rate_scale();
  if (own->has_weight_decay()) {
    options.adamw.weight_decay = own->weight_decay();
    options.scheduled_weight_decay = false;
  }
  options.clip_share = own->clip_share();
  if (own->has_buckets()) options.buckets = FromProto(own->buckets());
  if (own->has_overlap_gradient_reduce()) {
    options.overlap_gradient_reduce = own->overlap_gradient_reduce();
  }
  if (own->has_overlap_parameter_gather()) {
    options.overlap_parameter_gather = own->overlap_parameter_gather();
  }
  return options;
}

WeightDecayOptions WeightDecayOf(const proto::Optimizer& message, int64_t run_samples) {
  const double end = message.adamw().weight_decay();
  if (!message.has_weight_decay_schedule()) return {.start = end, .end = end};
  return {.style = StyleOf(message.weight_decay_schedule().style()),
          .start = message.weight_decay_schedule().start(),
          .end = end,
          .samples = run_samples};
}

LearningRateOptions FromProto(const Schedule& message) {
  return {.style = StyleOf(message.style()),
          .peak = message.peak(),
          .minimum = message.minimum(),
          .initial = message.initial(),
          .tail = TailOf(message.tail())};
}

}  // namespace hetero
