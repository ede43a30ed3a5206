#include "hetero/optim/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

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

// Lengths are counted in 64 bits; this one leaves room for sums.
constexpr int64_t kMaxLength = int64_t{1} << 62;

// Whether an enum that ends with `last` has the value.
template <typename Enum>
bool IsOneOf(Enum value, Enum last) {
  return value >= Enum{} && value <= last;
}

}  // namespace

std::vector<Violation> Validate(const LearningRateOptions& options, std::string_view unit) {
  const std::string warmup = absl::StrCat("warmup_", unit);
  const std::string decay = absl::StrCat("decay_", unit);
  const std::string tail = absl::StrCat("tail_", unit);
  Violations violations;
  const auto require = [&](bool holds, const Violation& violation) {
    if (!holds) violations.Add(violation);
  };
  require(IsOneOf(options.style, LearningRateStyle::kWarmupStableDecay),
          Refuse("style", absl::StrCat(" is ", static_cast<int>(options.style),
                                       ", must be one of the learning rate's styles")));
  for (const auto& [name, rate] : {std::pair("peak", options.peak),
                                   {"minimum", options.minimum},
                                   {"initial", options.initial}}) {
    require(std::isfinite(rate) && rate >= 0,
            Refuse(name, absl::StrCat(" is ", rate, ", must be finite and at least 0"), {"0"}));
    require(rate <= options.peak || !violations.Sound({"peak", name}),
            Refuse(name,
                   absl::StrCat(" is ", ShortestText(rate), ", must be at most peak ",
                                ShortestText(options.peak)),
                   {ShortestText(options.peak)}));
  }
  const auto check_length = [&](const std::string& name, int64_t length, int64_t least) {
    require(length >= least,
            Refuse(name, absl::StrCat(" is ", length, ", must be at least ", least),
                   {absl::StrCat(least)}));
    require(length <= kMaxLength,
            Refuse(name, absl::StrCat(" is ", length, ", must be at most ", kMaxLength),
                   {absl::StrCat(kMaxLength)}));
  };
  check_length(warmup, options.warmup_samples, 0);
  check_length(decay, options.decay_samples, 1);
  if (violations.Sound({warmup, decay})) {
    require(options.warmup_samples < options.decay_samples,
            Refuse(warmup,
                   absl::StrCat(" is ", options.warmup_samples, ", must be below ", decay, " ",
                                options.decay_samples, ", the end of the decay"),
                   {absl::StrCat(options.decay_samples - 1)}));
  }
  if (options.style != LearningRateStyle::kWarmupStableDecay) {
    require(!options.tail && !options.tail_samples,
            Violation{.field = "tail",
                      .message = absl::StrCat("tail or ", tail,
                                              " is set, only style WARMUP_STABLE_DECAY has a tail"),
                      .corrections = {{{"style", "WARMUP_STABLE_DECAY"}}}});
    return violations.Take();
  }
  require(options.tail.has_value(),
          Refuse("tail", " is not set, style WARMUP_STABLE_DECAY needs the shape of its decay",
                 {"TAIL_LINEAR"}));
  require(!options.tail || IsOneOf(*options.tail, DecayTail::kMinusSqrt),
          Refuse("tail", " is none of the shapes of a decay", {"TAIL_LINEAR"}));
  if (!violations.Sound({warmup, decay})) return violations.Take();
  const int64_t longest = options.decay_samples - options.warmup_samples;
  if (!options.tail_samples) {
    violations.Add(Refuse(tail,
                          " is not set, style WARMUP_STABLE_DECAY needs the length of its decay",
                          {absl::StrCat(longest)}));
  } else {
    require(*options.tail_samples >= 1 && *options.tail_samples <= longest,
            Refuse(tail,
                   absl::StrCat(" is ", *options.tail_samples, ", must be from 1 to ", longest,
                                ", what lies between warm-up and the end of the decay"),
                   {absl::StrCat(std::clamp<int64_t>(*options.tail_samples, 1, longest))}));
  }
  return violations.Take();
}

absl::StatusOr<LearningRateSchedule> LearningRateSchedule::Make(
    const LearningRateOptions& options) {
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(options)));
  return LearningRateSchedule(options);
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
  if (options_.warmup_samples > 0 && samples <= options_.warmup_samples) {
    return options_.initial + (options_.peak - options_.initial) * static_cast<double>(samples) /
                                  static_cast<double>(options_.warmup_samples);
  }
  if (options_.style == LearningRateStyle::kConstant) return options_.peak;
  if (samples > options_.decay_samples) return options_.minimum;
  if (options_.style == LearningRateStyle::kInverseSquareRoot) {
    const double warmup = static_cast<double>(std::max<int64_t>(options_.warmup_samples, 1));
    return std::max(
        options_.minimum,
        options_.peak * std::sqrt(warmup / static_cast<double>(std::max<int64_t>(samples, 1))));
  }
  return options_.minimum +
         Remaining(static_cast<double>(samples)) * (options_.peak - options_.minimum);
}

}  // namespace hetero
