#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/layer_scale/layer_scale.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

struct Channels {
  explicit Channels(const benchmark::State& state) : t(state.range(0)), c(state.range(1)) {}

  int64_t t, c;
  std::mt19937 generator{1};
  HostTensor<float> x = HostTensor<float>::Normal({t, c}, generator);
  HostTensor<float> other = HostTensor<float>::Normal({t, c}, generator);  // residual, or dy
  HostTensor<float> scale = HostTensor<float>::Normal({c}, generator);
  HostTensor<float> out{{t, c}}, dscale{{c}};
  StreamWithWorkspace stream;
};

void BM_LayerScaleForward(benchmark::State& state) {
  Channels v(state);
  for (auto _ : state) {
    CHECK_OK(LayerScaleForward({.x_TC = v.x.view(),
                                .residual_TC = v.other.view(),
                                .scale_C = v.scale.view(),
                                .y_TC = v.out.view()},
                               *v.stream));
  }
  ReportBytes(state, 3.0 * v.x.view().num_bytes());
}
BENCHMARK(BM_LayerScaleForward)->Args({640, 128})->Args({4096, 1536});

void BM_LayerScaleBackward(benchmark::State& state) {
  Channels v(state);
  for (auto _ : state) {
    CHECK_OK(LayerScaleBackward({.dy_TC = v.other.view(),
                                 .x_TC = v.x.view(),
                                 .scale_C = v.scale.view(),
                                 .dx_TC = v.out.view(),
                                 .dscale_C = v.dscale.view()},
                                *v.stream));
  }
  ReportBytes(state, 3.0 * v.x.view().num_bytes());
}
BENCHMARK(BM_LayerScaleBackward)->Args({640, 128})->Args({4096, 1536});

}  // namespace
}  // namespace hetero
