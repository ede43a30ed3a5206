#include <cstdint>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

void BM_GradientStatistics(benchmark::State& state) {
  const int64_t n = state.range(0);
  constexpr int64_t kParameters = 100;
  std::mt19937 generator(1);
  const auto gradient = HostTensor<float>::Normal({n}, generator);
  std::vector<StatisticsRange> ranges;
  for (int64_t p = 0; p < kParameters; ++p) {
    const int64_t begin = n * p / kParameters;
    ranges.push_back({begin, n * (p + 1) / kParameters - begin, p});
  }
  HostTensor<double> totals({2}, {0, 0});
  HostTensor<double> non_finite({kParameters}, std::vector<double>(kParameters));
  StreamWithWorkspace stream;
  for (auto _ : state) {
    CHECK_OK(GradientStatistics({.gradient_N = gradient.view(),
                                 .ranges = ranges,
                                 .totals_2 = totals.view(),
                                 .non_finite_P = non_finite.view()},
                                *stream));
  }
  ReportBytes(state, gradient.view().num_bytes());
}
BENCHMARK(BM_GradientStatistics)->Arg(860592)->Arg(1 << 24);

}  // namespace
}  // namespace hetero
