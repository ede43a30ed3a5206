#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"

namespace hetero::internal {
namespace {

struct Sums {
  double squares = 0;
  int64_t zeros = 0;
  int64_t non_finite = 0;
};

// Kept in kLanes partial sums, so that the order is the same whatever the vector width.
template <typename T>
HETERO_CPU_KERNEL void AddRange(const T* x, int64_t n, Sums* sums) {
  constexpr int64_t kLanes = 16;
  // As wide as an element: no comparison is widened. A lane counts past 2^31 in 128 GB of f32.
  using Count = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  double squares[kLanes] = {};
  Count zeros[kLanes] = {};
  Count non_finite[kLanes] = {};
  const auto add = [&](int64_t lane, T value) __attribute__((always_inline)) {
    const bool finite = std::abs(value) <= std::numeric_limits<T>::max();
    const double kept = static_cast<double>(finite ? value : T(0));
    squares[lane] += kept * kept;
    zeros[lane] += value == T(0) ? 1 : 0;
    non_finite[lane] += finite ? 0 : 1;
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int64_t lane = 0; lane < kLanes; ++lane) add(lane, x[i + lane]);
  }
  for (int64_t lane = 0; i < n; ++i, ++lane) add(lane, x[i]);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    sums->squares += squares[lane];
    sums->zeros += zeros[lane];
    sums->non_finite += non_finite[lane];
  }
}

}  // namespace

absl::Status GradientStatisticsCpu(const GradientStatisticsArgs& args) {
  double* const totals = args.totals_2.data<double>();
  double* const non_finite = args.non_finite_P.data<double>();
  return VisitFloat(args.gradient_N.dtype(), [&]<typename T>() {
    Sums of_all;
    for (const StatisticsRange& range : args.ranges) {
      Sums sums;
      cpu::RunKernel<AddRange<T>>(args.gradient_N.data<T>() + range.begin, range.count, &sums);
      of_all.squares += sums.squares;
      of_all.zeros += sums.zeros;
      non_finite[range.parameter] += static_cast<double>(sums.non_finite);
    }
    totals[0] += of_all.squares;
    totals[1] += static_cast<double>(of_all.zeros);
  });
}

}  // namespace hetero::internal
