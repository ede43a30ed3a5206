#include "hetero/optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

double HalfCosine(double q) { return (std::cos(std::numbers::pi * q) + 1) / 2; }

double TailRemaining(DecayTail tail, double q) {
  switch (tail) {
    case DecayTail::kLinear:
      return 1 - q;
    case DecayTail::kCosine:
      return HalfCosine(q);
    case DecayTail::kExponential:
      return 2 * std::exp2(-q) - 1;
    case DecayTail::kMinusSqrt:
      return 1 - std::sqrt(q);
  }
  return 0;
}

}  // namespace

absl::StatusOr<LearningRateSchedule> LearningRateSchedule::Make(
    const LearningRateOptions& options) {
  std::vector<std::string> violations;
  const auto require = [&](bool holds, auto... text) {
    if (!holds) violations.push_back(absl::StrCat(text...));
  };
  const LearningRateOptions& o = options;
  // Comparisons are false for NaN.
  require(o.minimum >= 0, "minimum is ", o.minimum, ", must be at least 0; nearest: 0");
  require(o.peak >= o.minimum && std::isfinite(o.peak), "peak is ", o.peak,
          ", must be finite and at least the minimum; nearest: ", o.minimum);
  require(o.initial >= 0 && o.initial <= o.peak, "initial is ", o.initial,
          ", must be in [0, peak]; nearest: ", o.initial > o.peak ? o.peak : 0.0);
  require(o.warmup_samples >= 0, "warmup_samples is ", o.warmup_samples,
          ", must be at least 0; nearest: 0");
  require(o.decay_samples > 0, "decay_samples is ", o.decay_samples,
          ", must be above 0; nearest: ", std::max<int64_t>(1, o.warmup_samples + 1));
  require(o.decay_samples <= 0 || o.warmup_samples < o.decay_samples, "warmup_samples is ",
          o.warmup_samples, ", must be below decay_samples; nearest: ", o.decay_samples - 1);
  if (o.style == LearningRateStyle::kWarmupStableDecay) {
    const int64_t longest = o.decay_samples - o.warmup_samples;
    require(o.tail.has_value(), "tail is unset; warmup_stable_decay needs the shape of its decay");
    require(o.tail_samples.has_value(),
            "tail_samples is unset; warmup_stable_decay needs the length of its decay");
    require(!o.tail_samples || (*o.tail_samples > 0 && *o.tail_samples <= longest),
            "tail_samples is ", o.tail_samples.value_or(0),
            ", must be in [1, decay_samples - warmup_samples]; nearest: ",
            o.tail_samples.value_or(0) > longest ? longest : 1);
  } else {
    require(!o.tail && !o.tail_samples, "tail is set; only warmup_stable_decay has one");
  }
  if (violations.empty()) return LearningRateSchedule(options);
  return absl::InvalidArgumentError(absl::StrJoin(violations, "\n"));
}

double LearningRateSchedule::Remaining(double samples) const {
  const double warmup = static_cast<double>(options_.warmup_samples);
  const double end = static_cast<double>(options_.decay_samples);
  const double done = (samples - warmup) / (end - warmup);
  switch (options_.style) {
    case LearningRateStyle::kLinear:
      return 1 - done;
    case LearningRateStyle::kCosine:
      return HalfCosine(done);
    case LearningRateStyle::kWarmupStableDecay: {
      const double length = static_cast<double>(*options_.tail_samples);
      const double start = end - length;
      return samples <= start ? 1 : TailRemaining(*options_.tail, (samples - start) / length);
    }
    case LearningRateStyle::kConstant:
    case LearningRateStyle::kInverseSquareRoot:
      break;
  }
  return 1;
}

double LearningRateSchedule::At(int64_t samples) const {
  const LearningRateOptions& o = options_;
  if (o.warmup_samples > 0 && samples <= o.warmup_samples) {
    return o.initial + (o.peak - o.initial) * static_cast<double>(samples) /
                           static_cast<double>(o.warmup_samples);
  }
  if (o.style == LearningRateStyle::kConstant) return o.peak;
  if (samples > o.decay_samples) return o.minimum;
  if (o.style == LearningRateStyle::kInverseSquareRoot) {
    const double warmup = static_cast<double>(std::max<int64_t>(o.warmup_samples, 1));
    return std::max(
        o.minimum, o.peak * std::sqrt(warmup / static_cast<double>(std::max<int64_t>(samples, 1))));
  }
  return o.minimum + Remaining(static_cast<double>(samples)) * (o.peak - o.minimum);
}

}  // namespace hetero
