#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// Eight experts; the load is uneven: expert e has rows in proportion to e + 1.
struct Layer {
  explicit Layer(const benchmark::State& state)
      : r(state.range(0)), n(state.range(1)), k(state.range(2)) {
    for (int64_t e = 0; e <= 8; ++e) offsets[e] = static_cast<int32_t>(r * e * (e + 1) / 72);
  }
  double flops() const { return 2.0 * static_cast<double>(r * n * k); }

  std::mt19937 random{1};
  int64_t r, n, k;
  HostTensor<int32_t> offsets{std::initializer_list<int64_t>{9}};
  HostTensor<float> x = HostTensor<float>::Normal({r, k}, random);
  HostTensor<float> y = HostTensor<float>::Normal({r, n}, random);
  HostTensor<float> w = HostTensor<float>::Normal({8, n, k}, random);
  StreamWithWorkspace stream;
};

void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"rows", "N", "K"})->Args({768, 96, 128})->Args({768, 128, 96});
}

void BM_ExpertLinearForward(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    CHECK_OK(ExpertLinearForward(l.x.view(), l.w.view(), l.offsets.view(), l.y.view(), *l.stream));
  }
  ReportFlops(state, l.flops());
}
BENCHMARK(BM_ExpertLinearForward)->Apply(Shapes);

void BM_ExpertLinearBackwardInput(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    CHECK_OK(
        ExpertLinearBackwardInput(l.y.view(), l.w.view(), l.offsets.view(), l.x.view(), *l.stream));
  }
  ReportFlops(state, l.flops());
}
BENCHMARK(BM_ExpertLinearBackwardInput)->Apply(Shapes);

void BM_ExpertLinearBackwardWeight(benchmark::State& state) {
  Layer l(state);
  for (auto _ : state) {
    CHECK_OK(ExpertLinearBackwardWeight(l.y.view(), l.x.view(), l.offsets.view(), l.w.view(), false,
                                        *l.stream));
  }
  ReportFlops(state, l.flops());
}
BENCHMARK(BM_ExpertLinearBackwardWeight)->Apply(Shapes);

}  // namespace
}  // namespace hetero
