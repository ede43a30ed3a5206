#ifndef HETERO_TRAINER_FEED_DATA_VIOLATIONS_H_
#define HETERO_TRAINER_FEED_DATA_VIOLATIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/violation.h"

namespace hetero::internal {

// Collects what is wrong with fields; a message begins with its field.
class DataViolations {
 public:
  template <typename... Text>
  void Refuse(std::string_view field, const Text&... text) {
    violations_.push_back({std::string(field), absl::StrCat(field, text...)});
  }

  // `nearest` passes every rule of the field.
  template <typename... Text>
  void Advise(std::string_view field, std::optional<int64_t> nearest, const Text&... text) {
    Refuse(field, text...);
    if (nearest) Correct({{std::string(field), absl::StrCat(*nearest)}});
  }

  // One more way to mend what was refused last.
  void Correct(Correction correction) {
    violations_.back().corrections.push_back(std::move(correction));
  }

  bool empty() const { return violations_.empty(); }

  std::vector<Violation> Take() && { return std::move(violations_); }

 private:
  std::vector<Violation> violations_;
};

}  // namespace hetero::internal

#endif  // HETERO_TRAINER_FEED_DATA_VIOLATIONS_H_
