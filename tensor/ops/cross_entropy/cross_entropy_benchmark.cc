#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/cross_entropy/linear_cross_entropy.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// The gradient of one call is the logits of the next, which stay finite.
void BM_CrossEntropy(benchmark::State& state) {
  const int64_t rows = state.range(0), columns = state.range(1);
  std::mt19937 generator(1);
  auto logits = HostTensor<float>::Normal({rows, columns}, generator);
  HostTensor<float> loss({rows}), weight({rows});
  HostTensor<int32_t> targets({rows});
  for (float& value : weight.values()) value = 1;
  StreamWithWorkspace stream;
  for (auto _ : state) {
    CHECK_OK(CrossEntropy({.logits_TV = logits.view(),
                           .targets_T = targets.view(),
                           .weight_T = weight.view(),
                           .loss_T = loss.view()},
                          *stream));
  }
  ReportBytes(state, 2.0 * logits.view().num_bytes());
}
BENCHMARK(BM_CrossEntropy)->Args({256, 512})->Args({64, 131072});

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
