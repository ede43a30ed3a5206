// The gate and norm at the sizes of the small hybrid preset (256 channels in 2 groups) and of one
// tensor-parallel eighth of a large one (512 in one group).

#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

struct Problem {
  explicit Problem(const benchmark::State& state)
      : rows(state.range(0)), channels(state.range(1)), groups(state.range(2)) {}

  GatedNormInputs Inputs() {
    return {y.view(), wide_z.view().Columns(0, channels), weight.view(), groups, 1e-5};
  }

  int64_t rows, channels, groups;
  std::mt19937 random{1};
  HostTensor<float> y = HostTensor<float>::Normal({rows, channels}, random);
  HostTensor<float> wide_z = HostTensor<float>::Normal({rows, channels + 328}, random);
  HostTensor<float> weight = HostTensor<float>::Normal({channels}, random);
  HostTensor<float> d_out = y, out = y, d_z = wide_z, d_weight = weight;
  StreamWithWorkspace stream;
};

void BM_GatedNormForward(benchmark::State& state) {
  Problem p(state);
  for (auto _ : state) CHECK_OK(GatedNormForward(p.Inputs(), p.out.view(), *p.stream));
  ReportBytes(state, 3.0 * p.rows * p.channels * sizeof(float));
}

void BM_GatedNormBackward(benchmark::State& state) {
  Problem p(state);
  for (auto _ : state) {
    CHECK_OK(GatedNormBackward(
        p.Inputs(), p.d_out.view(),
        {p.out.view(), p.d_z.view().Columns(0, p.channels), p.d_weight.view()}, *p.stream));
  }
  ReportBytes(state, 5.0 * p.rows * p.channels * sizeof(float));
}

void Sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "channels", "groups"})->Args({384, 256, 2})->Args({8192, 512, 1});
}
BENCHMARK(BM_GatedNormForward)->Apply(Sizes);
BENCHMARK(BM_GatedNormBackward)->Apply(Sizes);

}  // namespace
}  // namespace hetero
