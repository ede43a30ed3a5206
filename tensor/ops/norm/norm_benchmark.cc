#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/norm/norm.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

struct Rows {
  explicit Rows(const benchmark::State& state) : t(state.range(0)), c(state.range(1)) {}

  NormForwardArgs Forward() {
    return {.x_TC = x.view(),
            .residual_TC = residual.view(),
            .weight_C = weight.view(),
            .bias_C = bias.view(),
            .sum_TC = sum.view(),
            .y_TC = y.view(),
            .mean_T = mean.view(),
            .rstd_T = rstd.view()};
  }
  NormBackwardArgs Backward() {
    return {.dy_TC = y.view(),
            .x_TC = sum.view(),
            .weight_C = weight.view(),
            .mean_T = mean.view(),
            .rstd_T = rstd.view(),
            .dsum_TC = residual.view(),
            .dx_TC = x.view(),
            .dweight_C = dweight.view(),
            .dbias_C = dbias.view(),
            .accumulate = false};
  }

  int64_t t, c;
  std::mt19937 generator{1};
  HostTensor<float> x = HostTensor<float>::Normal({t, c}, generator);
  HostTensor<float> residual = HostTensor<float>::Normal({t, c}, generator);
  HostTensor<float> weight = HostTensor<float>::Normal({c}, generator);
  HostTensor<float> bias = HostTensor<float>::Normal({c}, generator);
  HostTensor<float> sum{{t, c}}, y{{t, c}}, mean{{t}}, rstd{{t}}, dweight{{c}}, dbias{{c}};
  StreamWithWorkspace stream;
};

template <auto kForward>
void BM_ResidualNormForward(benchmark::State& state) {
  Rows rows(state);
  for (auto _ : state) CHECK_OK(kForward(rows.Forward(), *rows.stream));
  ReportBytes(state, 4.0 * rows.x.view().num_bytes());
}
BENCHMARK(BM_ResidualNormForward<RmsNormForward>)->Args({384, 128})->Args({8192, 2688});
BENCHMARK(BM_ResidualNormForward<LayerNormForward>)->Args({640, 64})->Args({8192, 1280});

template <auto kForward, auto kBackward>
void BM_ResidualNormBackward(benchmark::State& state) {
  Rows rows(state);
  CHECK_OK(kForward(rows.Forward(), *rows.stream));
  for (auto _ : state) CHECK_OK(kBackward(rows.Backward(), *rows.stream));
  ReportBytes(state, 4.0 * rows.x.view().num_bytes());
}
BENCHMARK(BM_ResidualNormBackward<RmsNormForward, RmsNormBackward>)
    ->Args({384, 128})
    ->Args({8192, 2688});
BENCHMARK(BM_ResidualNormBackward<LayerNormForward, LayerNormBackward>)
    ->Args({640, 64})
    ->Args({8192, 1280});

}  // namespace
}  // namespace hetero
