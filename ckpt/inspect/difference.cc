#include "hetero/ckpt/inspect/difference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/inspect/numbers.h"

namespace hetero {
namespace {

TensorDifference Compare(std::string_view key, ElementType type, std::span<const std::byte> first,
                         std::span<const std::byte> second) {
  const int64_t unit = std::max(1, BitsOf(type) / 8);
  TensorDifference difference = {.key = std::string(key), .all_elements = std::ssize(first) / unit};
  for (int64_t i = 0; i < difference.all_elements; ++i) {
    if (std::memcmp(first.data() + i * unit, second.data() + i * unit, unit) == 0) continue;
    ++difference.elements;
    if (!IsFloat(type)) continue;
    const double distance = std::abs(NumberAt(type, first, i) - NumberAt(type, second, i));
    // NaN stays: no comparison with it holds.
    if (!difference.max_abs.has_value() || !(distance <= *difference.max_abs)) {
      if (!difference.max_abs.has_value() || !std::isnan(*difference.max_abs)) {
        difference.max_abs = distance;
      }
    }
  }
  return difference;
}

}  // namespace

std::string TensorDifference::ToString() const {
  if (!heads.empty()) return absl::StrCat(key, ": ", heads);
  return absl::StrCat(key, ": ", elements, " of ", all_elements, " elements differ",
                      max_abs.has_value() ? absl::StrCat(", by ", *max_abs, " at most") : "");
}

absl::StatusOr<DifferenceReport> CompareTensors(
    const StoredTensors& first, const StoredTensors& second,
    const std::function<absl::Status(std::string_view key)>& before_each) {
  DifferenceReport report;
  for (const auto& [key, head] : first.heads()) {
    const auto other = second.heads().find(key);
    if (other == second.heads().end()) {
      report.only_first.push_back(key);
      continue;
    }
    if (before_each) {
      HETERO_RETURN_IF_ERROR(before_each(key));
    }
    if (head != other->second) {
      report.different.push_back(
          {.key = key, .heads = absl::StrCat(head.ToString(), " and ", other->second.ToString())});
      continue;
    }
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::byte> left, first.Read(key));
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::byte> right, second.Read(key));
    if (left == right) {
      ++report.equal;
    } else {
      report.different.push_back(Compare(key, head.type, left, right));
    }
  }
  for (const auto& [key, head] : second.heads()) {
    if (!first.heads().contains(key)) report.only_second.push_back(key);
  }
  return report;
}

}  // namespace hetero
