#ifndef HETERO_BASE_COUNTED_H_
#define HETERO_BASE_COUNTED_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace hetero {

// A number of things in words: "1 step", "2 steps", "0 steps". Precondition: the plural of `noun`
// is `noun` and an s.
inline std::string Counted(int64_t count, std::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace hetero

#endif  // HETERO_BASE_COUNTED_H_
