#include "hetero/base/violation.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

// Whether `path` is `parent` or below it.
bool Holds(std::string_view parent, std::string_view path) {
  if (!absl::StartsWith(path, parent)) return false;
  const std::string_view rest = path.substr(parent.size());
  return rest.empty() || rest[0] == '.' || rest[0] == '[';
}

}  // namespace

std::string Violation::ToString() const {
  if (corrections.empty()) return message;
  const bool values_alone =
      std::all_of(corrections.begin(), corrections.end(), [&](const Correction& correction) {
        return correction.size() == 1 && correction[0].path == field;
      });
  const auto append = [&](std::string* out, const Correction& correction) {
    absl::StrAppend(out, absl::StrJoin(correction, " with ",
                                       [&](std::string* text, const Assignment& assignment) {
                                         if (!values_alone) {
                                           absl::StrAppend(text, assignment.path, " ");
                                         }
                                         absl::StrAppend(text, assignment.value);
                                       }));
  };
  return absl::StrCat(message, "; nearest: ", absl::StrJoin(corrections, " or ", append));
}

Violation Refuse(std::string_view field, std::string_view text,
                 std::initializer_list<std::string> nearest) {
  Violation violation{.field = std::string(field), .message = absl::StrCat(field, text)};
  for (const std::string& value : nearest) {
    violation.corrections.push_back({{std::string(field), value}});
  }
  return violation;
}

Violation Below(std::string_view prefix, Violation violation) {
  const auto lower = [&](std::string& path) { path = absl::StrCat(prefix, ".", path); };
  if (absl::StartsWith(violation.message, violation.field)) lower(violation.message);
  lower(violation.field);
  for (Correction& correction : violation.corrections) {
    for (Assignment& assignment : correction) lower(assignment.path);
  }
  return violation;
}

std::string ShortestText(double value) {
  char buffer[32];
  return std::string(buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr);
}

absl::Status ViolationsError(std::span<const Violation> violations) {
  if (violations.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrJoin(violations, "\n", [](std::string* out, const Violation& violation) {
        absl::StrAppend(out, violation.ToString());
      }));
}

void Violations::Add(std::vector<Violation> more) {
  list_.insert(list_.end(), std::make_move_iterator(more.begin()),
               std::make_move_iterator(more.end()));
}

bool Violations::Sound(std::initializer_list<std::string_view> fields) const {
  return std::none_of(list_.begin(), list_.end(), [&](const Violation& violation) {
    return std::any_of(fields.begin(), fields.end(), [&](std::string_view field) {
      return Holds(violation.field, field) || Holds(field, violation.field);
    });
  });
}

}  // namespace hetero
