#include "hetero/ckpt/inspect/difference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

// IEEE 754 binary16; subnormal numbers are multiples of 2^-24.
double HalfToDouble(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const double fraction = bits & 1023;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * HUGE_VAL;
  return sign *
         (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

template <typename T>
T At(std::span<const std::byte> bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

bool IsFloat(ElementType type) {
  return type == ElementType::kF16 || type == ElementType::kBF16 || type == ElementType::kF32 ||
         type == ElementType::kF64;
}

// Precondition: IsFloat.
double NumberAt(ElementType type, std::span<const std::byte> bytes, int64_t index) {
  switch (type) {
    case ElementType::kF16:
      return HalfToDouble(At<uint16_t>(bytes, index));
    case ElementType::kBF16: {
      const uint32_t bits = uint32_t{At<uint16_t>(bytes, index)} << 16;
      float number;
      std::memcpy(&number, &bits, sizeof(number));
      return number;
    }
    case ElementType::kF32:
      return At<float>(bytes, index);
    default:
      return At<double>(bytes, index);
  }
}

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
