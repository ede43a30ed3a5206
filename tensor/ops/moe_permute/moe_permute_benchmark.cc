#include <cstdint>
#include <random>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/moe_permute/moe_permute.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// Tokens to expert rows and back.
void BM_PermuteRoundTrip(benchmark::State& state) {
  const int64_t t = state.range(0), h = state.range(1), e = 8, k = 2;
  std::mt19937 random(1);
  HostTensor<int32_t> experts({t, k}), counts({e}), offsets({e + 1}), rows({t, k}), tokens({t * k});
  for (int64_t i = 0; i < t; ++i) {
    experts[2 * i] = static_cast<int32_t>(random() % 7);
    experts[2 * i + 1] = experts[2 * i] + 1;
    ++counts[experts[2 * i]];
    ++counts[experts[2 * i + 1]];
  }
  const auto x = HostTensor<float>::Normal({t, h}, random);
  HostTensor<float> sorted({t * k, h}), out({t, h});
  StreamWithWorkspace stream;
  for (auto _ : state) {
    CHECK_OK(AssignExpertRows({.experts_TK = experts.view(),
                               .counts_E = counts.view(),
                               .offsets_E1 = offsets.view(),
                               .rows_TK = rows.view(),
                               .tokens_R = tokens.view()},
                              *stream));
    CHECK_OK(GatherTokenRows(x.view(), tokens.view(), sorted.view(), *stream));
    CHECK_OK(SumTokenRows(sorted.view(), rows.view(), x.view(), out.view(), *stream));
  }
  ReportBytes(state, 4.0 * static_cast<double>(t * h * (1 + 2 * k + 2)));
}
BENCHMARK(BM_PermuteRoundTrip)->ArgNames({"tokens", "H"})->Args({384, 128})->Args({8192, 512});

}  // namespace
}  // namespace hetero
