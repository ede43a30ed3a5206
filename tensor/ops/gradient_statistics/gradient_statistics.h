#ifndef HETERO_TENSOR_OPS_GRADIENT_STATISTICS_GRADIENT_STATISTICS_H_
#define HETERO_TENSOR_OPS_GRADIENT_STATISTICS_GRADIENT_STATISTICS_H_

// What a step has to know of a flat gradient before it updates anything, in one pass: the squares
// for its norm, how many elements are zero, and which parameters have NaN or infinite ones. It
// reads every element of the ranges once, 4 bytes in f32, and writes next to nothing.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A range of one parameter's elements in a flat gradient.
struct StatisticsRange {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t parameter = 0;  // index into non_finite_P

  bool operator==(const StatisticsRange&) const = default;
};

// N elements of a gradient and P parameters. Elements outside of all ranges are not read.
struct GradientStatisticsArgs {
  ConstTensorView gradient_N;               // f32, on the CPU also f64
  std::span<const StatisticsRange> ranges;  // ascending, disjoint, inside [0, N)
  // f64 {Σ squares of finite elements, elements that are zero}, the first two of ModuleStatistic
  // (update_decision.h): added to. The squares are summed in f64, in an order that only the ranges
  // fix.
  TensorView totals_2;
  // f64: the elements of each parameter that are NaN or infinite, added to.
  TensorView non_finite_P;
};

// Errors: INVALID_ARGUMENT naming the operand or the range.
absl::Status GradientStatistics(const GradientStatisticsArgs& args, Stream& stream);

namespace internal {

// How a GPU cuts the ranges: a block sums as many vectors of kStatisticsWidth elements, counted
// from element 0 of the gradient, of one range. Not of the device: the order of the sum follows.
inline constexpr int kStatisticsWidth = 4;

struct StatisticsCut {
  int64_t vectors_per_block = 0;
  int64_t num_blocks = 0;  // of all ranges

  static StatisticsCut Of(std::span<const StatisticsRange> ranges);
  int64_t NumBlocks(const StatisticsRange& range) const {
    return CeilDiv(NumVectors(range), vectors_per_block);
  }
  // Those that have elements of the range.
  static int64_t NumVectors(const StatisticsRange& range) {
    if (range.count == 0) return 0;
    return CeilDiv(range.begin + range.count, kStatisticsWidth) - range.begin / kStatisticsWidth;
  }
};

absl::Status GradientStatisticsCpu(const GradientStatisticsArgs& args);
// `partials` f64 [cut.num_blocks, 2]: scratch.
absl::Status GradientStatisticsCuda(const GradientStatisticsArgs& args, const StatisticsCut& cut,
                                    const TensorView& partials, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_GRADIENT_STATISTICS_GRADIENT_STATISTICS_H_
