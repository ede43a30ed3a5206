#ifndef HETERO_BASE_VIOLATION_H_
#define HETERO_BASE_VIOLATION_H_

// Broken rules of a configuration: what is wrong where, and what would be right.

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace hetero {

// A field set to a value.
struct Assignment {
  std::string path;  // "language.num_ranks"
  std::string value;

  bool operator==(const Assignment&) const = default;
};

// Assignments that together make a broken rule hold.
using Correction = std::vector<Assignment>;

// One broken rule.
struct Violation {
  std::string field;    // path below the configuration, "language.tp"
  std::string message;  // names the field, its value and the rule
  // Each alone mends the rule, the nearest first; none where a value cannot be proposed.
  std::vector<Correction> corrections = {};

  // Message and corrections: "language.tp is 0, must be at least 1; nearest: 1".
  std::string ToString() const;

  bool operator==(const Violation&) const = default;
};

// A violation that one value of `field` mends, any of `nearest`.
Violation Refuse(std::string_view field, std::string_view text,
                 std::initializer_list<std::string> nearest = {});

// The same one level further down: `prefix` goes before the field's name, also at the start of the
// message, and before the paths of the corrections.
Violation Below(std::string_view prefix, Violation violation);

// The shortest text that reads back to the same number: a proposed value is exactly what passes.
std::string ShortestText(double value);

// INVALID_ARGUMENT with all of them, one a line; OK for none.
absl::Status ViolationsError(std::span<const Violation> violations);

// Violations in the order in which they are found. A rule over several fields is judged only when
// each of them is sound by itself: then its arithmetic holds and its advice passes.
class Violations {
 public:
  void Add(Violation violation) { list_.push_back(std::move(violation)); }
  void Add(std::vector<Violation> more);

  // Whether no violation so far is of one of `fields`, of a message that holds one, or of something
  // below one.
  bool Sound(std::initializer_list<std::string_view> fields) const;

  const std::vector<Violation>& list() const { return list_; }
  std::vector<Violation> Take() { return std::move(list_); }

 private:
  std::vector<Violation> list_;
};

}  // namespace hetero

#endif  // HETERO_BASE_VIOLATION_H_
