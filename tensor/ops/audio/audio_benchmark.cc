// The stem of Whisper's tiny and large encoders over two clips of three seconds.
// one.

#include <cstdint>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/audio_batch.h"
#include "hetero/tensor/ops/audio/audio.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// Arguments: channels, outputs, stride.
struct Conv {
  explicit Conv(const benchmark::State& state)
      : c(state.range(0)), n(state.range(1)), shape{.lengths = lengths, .stride = state.range(2)} {}

  const std::vector<int32_t> lengths = {300, 301};
  int64_t c, n;
  TimeConvShape shape;
  int64_t rows = ConvolvedRows(300, shape.stride) + ConvolvedRows(301, shape.stride);
  std::mt19937 random{1};
  HostTensor<float> x = HostTensor<float>::Normal({601, c}, random);
  HostTensor<float> weight = HostTensor<float>::Normal({n, 3 * c}, random);
  HostTensor<float> y = HostTensor<float>::Normal({rows, n}, random);
  HostTensor<float> d_x{601, c};
  HostTensor<float> d_weight{n, 3 * c};
  StreamWithWorkspace stream;

  double flops() const { return 6.0 * static_cast<double>(rows * c * n); }
};

void BM_TimeConvForward(benchmark::State& state) {
  Conv conv(state);
  for (auto _ : state) {
    CHECK_OK(TimeConvForward(conv.shape, conv.x.view(), conv.weight.view(), conv.y.view(),
                             *conv.stream));
  }
  ReportFlops(state, conv.flops());
}
BENCHMARK(BM_TimeConvForward)->Args({80, 384, 1})->Args({384, 384, 2})->Args({1280, 1280, 2});

void BM_TimeConvBackward(benchmark::State& state) {
  Conv conv(state);
  for (auto _ : state) {
    CHECK_OK(TimeConvBackward(conv.shape,
                              {.dy_RN = conv.y.view(),
                               .x_TC = conv.x.view(),
                               .weight_NK = conv.weight.view(),
                               .d_x_TC = conv.d_x.view(),
                               .d_weight_NK = conv.d_weight.view()},
                              *conv.stream));
  }
  ReportFlops(state, 2 * conv.flops());
}
BENCHMARK(BM_TimeConvBackward)->Args({80, 384, 1})->Args({384, 384, 2})->Args({1280, 1280, 2});

void BM_AddSinusoids(benchmark::State& state) {
  const std::vector<int32_t> lengths = {1500, 750};
  std::mt19937 random{1};
  auto x = HostTensor<float>::Normal({2250, state.range(0)}, random);
  HostTensor<float> out({2250, state.range(0)});
  StreamWithWorkspace stream;
  for (auto _ : state) CHECK_OK(AddSinusoids(lengths, x.view(), out.view(), *stream));
  ReportBytes(state, 2.0 * static_cast<double>(x.view().num_bytes()));
}
BENCHMARK(BM_AddSinusoids)->Arg(64)->Arg(384)->Arg(1280);

}  // namespace
}  // namespace hetero
