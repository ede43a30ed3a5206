#ifndef HETERO_BASE_COUNTED_H_
#define HETERO_BASE_COUNTED_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace hetero {

// A number of things in words: "1 step", "2 steps", "0 steps". Without a `plural` it is `noun` and
// an s.
inline std::string Counted(int64_t count, std::string_view noun, std::string_view plural = "") {
  if (count == 1) return absl::StrCat("1 ", noun);
  return plural.empty() ? absl::StrCat(count, " ", noun, "s") : absl::StrCat(count, " ", plural);
}

}  // namespace hetero

#endif  // HETERO_BASE_COUNTED_H_
