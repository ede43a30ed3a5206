#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

void BM_Add(benchmark::State& state) {
  std::mt19937 generator(1);
  auto x = HostTensor<float>::Normal({state.range(0)}, generator);
  auto y = HostTensor<float>::Normal({state.range(0)}, generator);
  HostTensor<float> out({state.range(0)});
  StreamWithWorkspace stream;
  for (auto _ : state) CHECK_OK(Add(x.view(), y.view(), out.view(), *stream));
  ReportBytes(state, 3.0 * x.view().num_bytes());
}
BENCHMARK(BM_Add)->Arg(384 * 128)->Arg(1 << 24);

}  // namespace
}  // namespace hetero
