#ifndef HETERO_BASE_STRONG_INT_H_
#define HETERO_BASE_STRONG_INT_H_

// Integers that do not mix: HETERO_STRONG_INT(GlobalRank) declares a type that compares, hashes,
// prints and steps like an int but converts to nothing; `value()` is the way out.

#include <compare>
#include <cstdint>
#include <ostream>

#include "absl/strings/str_format.h"

namespace hetero {

template <typename Tag>
class StrongInt {
 public:
  constexpr StrongInt() = default;
  constexpr explicit StrongInt(int64_t value) : value_(value) {}

  constexpr int64_t value() const { return value_; }

  constexpr auto operator<=>(const StrongInt&) const = default;

  constexpr StrongInt& operator++() {
    ++value_;
    return *this;
  }

  template <typename H>
  friend H AbslHashValue(H h, StrongInt i) {
    return H::combine(std::move(h), i.value_);
  }

  template <typename Sink>
  friend void AbslStringify(Sink& sink, StrongInt i) {
    absl::Format(&sink, "%d", i.value_);
  }

  friend std::ostream& operator<<(std::ostream& out, StrongInt i) { return out << i.value_; }

 private:
  int64_t value_ = 0;
};

}  // namespace hetero

#define HETERO_STRONG_INT(Name) using Name = ::hetero::StrongInt<struct Name##Tag>

#endif  // HETERO_BASE_STRONG_INT_H_
