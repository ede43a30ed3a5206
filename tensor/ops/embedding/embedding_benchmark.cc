#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/embedding/embedding.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// A table, and uniformly drawn ids: rows of the batch, table rows, columns.
struct Lookup {
  explicit Lookup(const benchmark::State& state)
      : ids({state.range(0)}),
        table({state.range(1), state.range(2)}),
        out({state.range(0), state.range(2)}) {
    std::mt19937 generator(1);
    std::uniform_int_distribution<int32_t> distribution(0, state.range(1) - 1);
    for (int32_t& id : ids.values()) id = distribution(generator);
    for (float& value : table.values()) value = 1;
    for (float& value : out.values()) value = 1;
  }

  HostTensor<int32_t> ids;
  HostTensor<float> table, out;
  StreamWithWorkspace stream;
};

void BM_EmbeddingForward(benchmark::State& state) {
  Lookup x(state);
  for (auto _ : state) {
    CHECK_OK(EmbeddingForward(
        {.weight_VH = x.table.view(), .ids_N = x.ids.view(), .out_TH = x.out.view()}, *x.stream));
  }
  ReportBytes(state, 2.0 * x.out.view().num_bytes());
}
BENCHMARK(BM_EmbeddingForward)->Args({384, 512, 128})->Args({8192, 32768, 2688});

void BM_EmbeddingBackward(benchmark::State& state) {
  Lookup x(state);
  for (auto _ : state) {
    CHECK_OK(EmbeddingBackward(
        {.d_out_TH = x.out.view(), .ids_N = x.ids.view(), .dweight_VH = x.table.view()},
        *x.stream));
  }
  ReportBytes(state, 3.0 * x.out.view().num_bytes());
}
BENCHMARK(BM_EmbeddingBackward)->Args({384, 512, 128})->Args({8192, 32768, 2688});

}  // namespace
}  // namespace hetero
