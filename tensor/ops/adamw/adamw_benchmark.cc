#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

// Args: elements; whether the parameters are masters of bf16 ones. "ceiling" is the rate's share of
// that of a copy of as many bytes.
void BM_AdamW(benchmark::State& state) {
  const int64_t n = state.range(0);
  std::vector<BFloat16> rounded(state.range(1) != 0 ? n : 0);
  std::mt19937 generator(1);
  auto p = HostTensor<float>::Normal({n}, generator);
  auto g = HostTensor<float>::Normal({n}, generator);
  HostTensor<float> m({n}, std::vector<float>(static_cast<size_t>(n)));
  HostTensor<float> v({n}, std::vector<float>(static_cast<size_t>(n)));
  const HostTensor<double> decisions({kNumUpdateDecisions}, {1, 1, 0.5, 1});
  const AdamWSegment segments[] = {{0, n / 2, 0.1}, {n / 2, n - n / 2, 0}};
  StreamWithWorkspace stream;
  for (auto _ : state) {
    CHECK_OK(AdamW({.parameter_N = p.view(),
                    .gradient_N = g.view(),
                    .first_moment_N = m.view(),
                    .second_moment_N = v.view(),
                    .rounded_N = rounded.empty() ? TensorView()
                                                 : TensorView(std::span<BFloat16>(rounded), {n}),
                    .segments = segments,
                    .beta1 = 0.9,
                    .beta2 = 0.95,
                    .epsilon = 1e-8,
                    .learning_rate = 1e-3,
                    .first_correction = 1.1,
                    .second_correction = 1.1,
                    .decisions = decisions.view()},
                   *stream));
  }
  ReportBytes(state, 7.0 * p.view().num_bytes() + 2.0 * static_cast<double>(rounded.size()));
}
BENCHMARK(BM_AdamW)->ArgsProduct({{860592, 1 << 24}, {0, 1}});

}  // namespace
}  // namespace hetero
