#include "hetero/base/matchers.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_format.h"

namespace hetero::internal {

std::string ExplainDifference(std::span<const double> actual, std::span<const double> expected,
                              const ErrorSpec& spec) {
  if (actual.size() != expected.size()) {
    return absl::StrFormat("%d elements, expected %d", actual.size(), expected.size());
  }
  double scale = 0;
  for (double value : expected) scale = std::max(scale, std::abs(value));
  size_t misses = 0;
  size_t first = 0;
  size_t worst = 0;
  double worst_excess = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double bound =
        spec.absolute + spec.relative * std::abs(expected[i]) + spec.relative_to_max * scale;
    const double error = std::abs(actual[i] - expected[i]);
    if (error <= bound || actual[i] == expected[i]) continue;
    if (misses++ == 0) first = i;
    const double excess = std::isnan(error) ? std::numeric_limits<double>::infinity()
                                            : error / std::max(bound, 1e-300);
    if (excess > worst_excess) {
      worst_excess = excess;
      worst = i;
    }
  }
  if (misses == 0) return "";
  return absl::StrFormat(
      "%d of %d elements differ; first [%d] %.9g expected %.9g; worst [%d] %.9g expected %.9g, "
      "%.3g times the bound",
      misses, actual.size(), first, actual[first], expected[first], worst, actual[worst],
      expected[worst], worst_excess);
}

}  // namespace hetero::internal
