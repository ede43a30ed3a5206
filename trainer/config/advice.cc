#include "hetero/trainer/config/advice.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/trainer/config/config_text.h"

namespace hetero {
namespace {

// Enough for four rules that follow from one another, each with two ways out.
constexpr int kMaxTries = 32;

// The same rule broken in the same way, whatever else changed around it.
bool SameRule(const Violation& one, const Violation& other) {
  return one.message == other.message || (one.field == other.field && !one.corrections.empty() &&
                                          one.corrections == other.corrections);
}

bool Contains(std::span<const Violation> violations, const Violation& sought) {
  return std::ranges::any_of(
      violations, [&](const Violation& violation) { return SameRule(violation, sought); });
}

// `correction` and then `further`, whose assignments replace those of the same field.
Correction Joined(Correction correction, const Correction& further) {
  for (const Assignment& assignment : further) {
    std::erase_if(correction,
                  [&](const Assignment& before) { return before.path == assignment.path; });
    correction.push_back(assignment);
  }
  return correction;
}

std::optional<proto::RunConfig> Corrected(proto::RunConfig config, const Correction& correction) {
  for (const auto& [path, value] : correction) {
    if (!SetField(absl::StrCat(path, "=", value), config).ok()) return std::nullopt;
  }
  return config;
}

struct Whole {
  Correction correction;
  std::vector<Violation> left;  // once it is taken
};

// The shortest correction that begins with `correction` and breaks nothing but what is `known`.
std::optional<Whole> Complete(const proto::RunConfig& config, Validator validate,
                              std::span<const Violation> known, const Correction& correction) {
  std::deque<Correction> candidates = {correction};
  for (int tries = 0; tries < kMaxTries && !candidates.empty(); ++tries) {
    const Correction candidate = std::move(candidates.front());
    candidates.pop_front();
    const std::optional<proto::RunConfig> corrected = Corrected(config, candidate);
    if (!corrected.has_value()) continue;
    std::vector<Violation> left = validate(*corrected);
    const auto broken = std::ranges::find_if(
        left, [&](const Violation& violation) { return !Contains(known, violation); });
    if (broken == left.end()) return Whole{candidate, std::move(left)};
    for (const Correction& further : broken->corrections) {
      candidates.push_back(Joined(candidate, further));
    }
  }
  return std::nullopt;
}

// Without those that the first whole correction of an earlier one mends by the way.
std::vector<Violation> WithoutConsequences(const proto::RunConfig& config, Validator validate,
                                           std::span<const Violation> violations) {
  std::vector<Violation> roots;
  std::vector<std::vector<Violation>> left;  // for each root with whole advice, once it is taken
  for (const Violation& violation : violations) {
    const bool follows = std::ranges::any_of(
        left, [&](const std::vector<Violation>& rest) { return !Contains(rest, violation); });
    if (follows) continue;
    roots.push_back(violation);
    for (const Correction& correction : violation.corrections) {
      std::optional<Whole> whole = Complete(config, validate, violations, correction);
      if (!whole.has_value()) continue;
      left.push_back(std::move(whole->left));
      break;
    }
  }
  return roots;
}

}  // namespace

std::vector<Violation> FindWithWholeAdvice(const proto::RunConfig& config, Validator validate) {
  const std::vector<Violation> roots = WithoutConsequences(config, validate, validate(config));
  std::vector<Violation> advised = roots;
  for (Violation& violation : advised) {
    std::vector<Correction> corrections;
    for (const Correction& correction : violation.corrections) {
      std::optional<Whole> whole = Complete(config, validate, roots, correction);
      if (!whole.has_value()) continue;
      if (std::ranges::find(corrections, whole->correction) != corrections.end()) continue;
      corrections.push_back(std::move(whole->correction));
    }
    if (!corrections.empty()) violation.corrections = std::move(corrections);
  }
  return advised;
}

}  // namespace hetero
