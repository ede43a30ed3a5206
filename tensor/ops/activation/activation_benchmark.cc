#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

struct Features {
  explicit Features(const benchmark::State& state) : t(state.range(0)), columns(state.range(1)) {}

  int64_t t, columns;
  std::mt19937 generator{1};
  HostTensor<float> f = HostTensor<float>::Normal({t, columns}, generator);
  HostTensor<float> p = HostTensor<float>::Normal({t}, generator);
  HostTensor<float> bias = HostTensor<float>::Normal({columns}, generator);
  HostTensor<float> da = HostTensor<float>::Normal({t, columns}, generator);
  HostTensor<float> a{{t, columns}}, dp{{t}}, dbias{{columns}};
  StreamWithWorkspace stream;
};

void BM_SquaredReluForward(benchmark::State& state) {
  Features x(state);
  for (auto _ : state) {
    CHECK_OK(SquaredReluForward(x.f.view(), x.p.view(), x.a.view(), *x.stream));
  }
  ReportBytes(state, 2.0 * x.f.view().num_bytes());
}
BENCHMARK(BM_SquaredReluForward)->Args({768, 96})->Args({8192, 3712});

void BM_SquaredReluBackward(benchmark::State& state) {
  Features x(state);
  for (auto _ : state) {
    CHECK_OK(SquaredReluBackward({.da_TF = x.da.view(),
                                  .f_TF = x.f.view(),
                                  .p_T = x.p.view(),
                                  .df_TF = x.a.view(),
                                  .dp_T = x.dp.view()},
                                 *x.stream));
  }
  ReportBytes(state, 3.0 * x.f.view().num_bytes());
}
BENCHMARK(BM_SquaredReluBackward)->Args({768, 96})->Args({8192, 3712});

void BM_GeluForward(benchmark::State& state) {
  Features x(state);
  for (auto _ : state) {
    CHECK_OK(GeluForward(GeluForm::kTanh, x.f.view(), x.bias.view(), x.a.view(), *x.stream));
  }
  ReportBytes(state, 2.0 * x.f.view().num_bytes());
}
BENCHMARK(BM_GeluForward)->Args({640, 128})->Args({4096, 5120});

void BM_GeluBackward(benchmark::State& state) {
  Features x(state);
  for (auto _ : state) {
    CHECK_OK(GeluBackward({.da_TF = x.da.view(),
                           .f_TF = x.f.view(),
                           .bias_F = x.bias.view(),
                           .df_TF = x.a.view(),
                           .dbias_F = x.dbias.view(),
                           .accumulate = false},
                          *x.stream));
  }
  ReportBytes(state, 3.0 * x.f.view().num_bytes());
}
BENCHMARK(BM_GeluBackward)->Args({640, 128})->Args({4096, 5120});

}  // namespace
}  // namespace hetero
