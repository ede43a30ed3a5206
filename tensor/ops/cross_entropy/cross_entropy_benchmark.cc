#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
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

}  // namespace
}  // namespace hetero
