#ifndef HETERO_BASE_MATCHERS_H_
#define HETERO_BASE_MATCHERS_H_

// GoogleTest matchers for numeric results. Status matchers are Abseil's
// (absl/status/status_matchers.h).

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "gmock/gmock.h"

namespace hetero {

// |actual - expected| <= absolute + relative * |expected| + relative_to_max * max|expected|,
// element by element. NaN never passes.
struct ErrorSpec {
  double absolute = 0;
  double relative = 0;
  double relative_to_max = 0;
};

// Machine epsilon of a storage type as a double, the unit of tolerances.
template <typename T>
constexpr double Epsilon() {
  return std::numeric_limits<T>::epsilon();
}

namespace internal {

template <typename Range>
std::vector<double> ToDoubles(const Range& range) {
  std::vector<double> values;
  for (const auto& value : range) values.push_back(static_cast<double>(value));
  return values;
}

// Empty text when every element is within `spec`, else the count, the first and the worst miss.
std::string ExplainDifference(std::span<const double> actual, std::span<const double> expected,
                              const ErrorSpec& spec);

}  // namespace internal

// Matches a range of numbers (span, vector) that is element by element close to `expected_range`.
template <typename Range>
auto IsCloseTo(const Range& expected_range, ErrorSpec spec) {
  return ::testing::Truly(
      [expected = internal::ToDoubles(expected_range), spec](const auto& actual) {
        const std::string difference =
            internal::ExplainDifference(internal::ToDoubles(actual), expected, spec);
        if (!difference.empty()) ADD_FAILURE() << difference;
        return difference.empty();
      });
}

}  // namespace hetero

#endif  // HETERO_BASE_MATCHERS_H_
