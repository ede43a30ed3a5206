#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/models/blocks/head/linear_cross_entropy.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

void BM_LinearCrossEntropy(benchmark::State& state) {
  const int64_t rows = state.range(0), columns = state.range(1), hidden_size = state.range(2);
  std::mt19937 generator(1);
  const auto hidden = HostTensor<float>::Normal({rows, hidden_size}, generator);
  const auto weight = HostTensor<float>::Normal({columns, hidden_size}, generator, 0.05);
  HostTensor<float> loss({rows}), loss_weight({rows});
  HostTensor<float> d_hidden({rows, hidden_size}), dweight({columns, hidden_size});
  HostTensor<int32_t> targets({rows});
  for (float& value : loss_weight.values()) value = 1;
  StreamWithWorkspace stream;
  for (auto _ : state) {
    CHECK_OK(LinearCrossEntropy({.hidden_TH = hidden.view(),
                                 .weight_VH = weight.view(),
                                 .targets_N = targets.view(),
                                 .loss_weight_N = loss_weight.view(),
                                 .loss_N = loss.view(),
                                 .d_hidden_TH = d_hidden.view(),
                                 .dweight_VH = dweight.view(),
                                 .accumulate = false,
                                 .chunk_rows = state.range(3)},
                                *stream));
  }
  ReportFlops(state, 6.0 * rows * columns * hidden_size);
}
BENCHMARK(BM_LinearCrossEntropy)
    ->Args({384, 512, 128, 64})
    ->Args({384, 512, 128, 128})
    ->Args({384, 512, 128, 256})
    ->Args({384, 512, 128, 384});

}  // namespace
}  // namespace hetero
