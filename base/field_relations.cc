#include "hetero/base/field_relations.h"

#include "absl/strings/str_cat.h"

namespace hetero {

void CheckMultiple(Violations& violations, const NumberField& number, const NumberField& unit) {
  if (!violations.Sound({number.path, unit.path}) || number.value % unit.value == 0) return;
  Violation violation = Refuse(
      number.path,
      absl::StrCat(" is ", number.value, ", must be a multiple of ", unit.path, " ", unit.value));
  const int64_t below = number.value / unit.value * unit.value;
  for (const int64_t nearest : {below, below + unit.value}) {
    if (nearest > 0) violation.corrections.push_back({{number.path, absl::StrCat(nearest)}});
  }
  int64_t divisor = unit.value < number.value ? unit.value : number.value;
  while (number.value % divisor != 0) --divisor;
  violation.corrections.push_back({{unit.path, absl::StrCat(divisor)}});
  violations.Add(std::move(violation));
}

void CheckAtMost(Violations& violations, const NumberField& number, const NumberField& limit) {
  if (!violations.Sound({number.path, limit.path}) || number.value <= limit.value) return;
  Violation violation = Refuse(number.path, absl::StrCat(" is ", number.value, ", must be at most ",
                                                         limit.path, " ", limit.value));
  violation.corrections = {{{number.path, absl::StrCat(limit.value)}},
                           {{limit.path, absl::StrCat(number.value)}}};
  violations.Add(std::move(violation));
}

}  // namespace hetero
