#include "hetero/optim/weight_decay.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

std::vector<Violation> Validate(const WeightDecayOptions& options, std::string_view end) {
  Violations violations;
  const bool rises =
      options.style == WeightDecayStyle::kLinear || options.style == WeightDecayStyle::kCosine;
  if (!rises && options.style != WeightDecayStyle::kConstant) {
    violations.Add(Refuse("style", absl::StrCat(" is ", static_cast<int>(options.style),
                                                ", must be one of the weight decay's styles")));
  }
  for (const auto& [name, decay] :
       {std::pair(std::string_view("start"), options.start), {end, options.end}}) {
    if (std::isfinite(decay) && decay >= 0) continue;
    violations.Add(
        Refuse(name, absl::StrCat(" is ", decay, ", must be finite and at least 0"), {"0"}));
  }
  const bool fits = rises ? options.start <= options.end : options.start == options.end;
  if (!fits && violations.Sound({"style", "start", end})) {
    violations.Add(
        Refuse("start",
               absl::StrCat(" is ", ShortestText(options.start), ", must be ",
                            rises ? "at most " : "equal to ", end, " ", ShortestText(options.end)),
               {ShortestText(options.end)}));
  }
  if (rises && options.samples < 1) {
    violations.Add(
        Refuse("samples", absl::StrCat(" is ", options.samples, ", must be at least 1"), {"1"}));
  }
  return violations.Take();
}

absl::StatusOr<WeightDecaySchedule> WeightDecaySchedule::Make(const WeightDecayOptions& options) {
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(options)));
  return WeightDecaySchedule(options);
}

double WeightDecaySchedule::At(int64_t samples) const {
  if (options_.style == WeightDecayStyle::kConstant || samples >= options_.samples) {
    return options_.end;
  }
  const double done = static_cast<double>(samples) / static_cast<double>(options_.samples);
  const double share = options_.style == WeightDecayStyle::kLinear
                           ? done
                           : (1 - std::cos(std::numbers::pi * done)) / 2;
  return options_.start + share * (options_.end - options_.start);
}

}  // namespace hetero
