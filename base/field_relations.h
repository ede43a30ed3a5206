#ifndef HETERO_BASE_FIELD_RELATIONS_H_
#define HETERO_BASE_FIELD_RELATIONS_H_

// Rules between two numbers of a configuration, with the values nearby that keep them.

#include <cstdint>
#include <string>

#include "hetero/base/violation.h"

namespace hetero {

// A field with its value; `path` as in Violation.
struct NumberField {
  std::string path;
  int64_t value = 0;
};

// Adds a violation unless `number` is a multiple of `unit`. Judges only fields that are sound in
// `violations`; such fields are positive.
void CheckMultiple(Violations& violations, const NumberField& number, const NumberField& unit);

// Adds a violation unless `number` is at most `limit`, likewise.
void CheckAtMost(Violations& violations, const NumberField& number, const NumberField& limit);

}  // namespace hetero

#endif  // HETERO_BASE_FIELD_RELATIONS_H_
