#include <array>
#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// The rows and features of the tiny model's linear layers: language model and encoder.
void LayerShapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "N", "K"});
  for (const auto& [t, n, k] : {std::array<int64_t, 3>{384, 584, 128},
                                {384, 128, 256},
                                {384, 512, 128},
                                {384, 128, 128},
                                {96, 96, 128},
                                {96, 128, 96},
                                {1536, 584, 384},
                                {640, 192, 64},
                                {640, 128, 64},
                                {640, 64, 128},
                                {160, 128, 256}}) {
    benchmark->Args({t, n, k});
  }
}

struct Layer {
  explicit Layer(const benchmark::State& state)
      : t(state.range(0)),
        n(state.range(1)),
        k(state.range(2)),
        x(HostTensor<float>::Normal({t, k}, generator)),
        w(HostTensor<float>::Normal({n, k}, generator)),
        y(HostTensor<float>::Normal({t, n}, generator)) {}

  double flops() const { return 2.0 * t * n * k; }

  std::mt19937 generator{1};
  int64_t t, n, k;
  HostTensor<float> x, w, y;
  StreamWithWorkspace stream;
};

void BM_LinearForward(benchmark::State& state) {
  Layer layer(state);
  for (auto _ : state) {
    CHECK_OK(LinearForward(layer.x.view(), layer.w.view(), {}, layer.y.view(), *layer.stream));
  }
  ReportFlops(state, layer.flops());
}
BENCHMARK(BM_LinearForward)->Apply(LayerShapes);

void BM_LinearBackwardInput(benchmark::State& state) {
  Layer layer(state);
  for (auto _ : state) {
    CHECK_OK(
        LinearBackwardInput(layer.y.view(), layer.w.view(), layer.x.view(), false, *layer.stream));
  }
  ReportFlops(state, layer.flops());
}
BENCHMARK(BM_LinearBackwardInput)->Apply(LayerShapes);

void BM_LinearBackwardWeight(benchmark::State& state) {
  Layer layer(state);
  for (auto _ : state) {
    CHECK_OK(
        LinearBackwardWeight(layer.y.view(), layer.x.view(), layer.w.view(), false, *layer.stream));
  }
  ReportFlops(state, layer.flops());
}
BENCHMARK(BM_LinearBackwardWeight)->Apply(LayerShapes);

void BM_BiasBackward(benchmark::State& state) {
  Layer layer(state);
  HostTensor<float> dbias({layer.n});
  for (auto _ : state) {
    CHECK_OK(BiasBackward(layer.y.view(), dbias.view(), false, *layer.stream));
  }
  ReportBytes(state, layer.y.view().num_bytes());
}
BENCHMARK(BM_BiasBackward)->Args({384, 512, 1})->Args({640, 192, 1});

}  // namespace
}  // namespace hetero
