#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/ceiling.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

// Segments of one length, named by segments, length, groups, heads a group, head size, causal: the
// tiny language model, the tiny encoder, and one head group of a long sequence.
void Shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"segments", "L", "G", "R", "D", "causal"});
  benchmark->Args({8, 48, 2, 2, 32, 1});
  benchmark->Args({8, 66, 4, 1, 16, 0});
  benchmark->Args({8, 98, 4, 1, 16, 0});
  benchmark->Args({1, 2048, 1, 4, 128, 1});
}

struct Pack {
  explicit Pack(const benchmark::State& state) {
    for (int64_t s = 0; s <= state.range(0); ++s) offsets.push_back(s * state.range(1));
    shape = {.num_groups = state.range(2),
             .heads_per_group = state.range(3),
             .head_size = state.range(4),
             .segments = offsets,
             .causal = state.range(5) != 0,
             .scale = 1.0 / std::sqrt(state.range(4))};
    const int64_t tokens = offsets.back();
    const int64_t heads = shape.num_groups * shape.heads_per_group;
    const int64_t columns = (heads + 2 * shape.num_groups) * shape.head_size;
    std::mt19937 generator(1);
    qkv = HostTensor<float>::Normal({tokens, columns}, generator);
    o = HostTensor<float>({tokens, heads * shape.head_size});
    d_o = HostTensor<float>::Normal({tokens, heads * shape.head_size}, generator);
    lse = HostTensor<float>({heads, tokens});
    d_qkv = HostTensor<float>({tokens, columns});
  }

  void Forward() {
    CHECK_OK(AttentionForward(
        {.shape = shape, .qkv = qkv.view(), .o = o.view(), .lse_HT = lse.view()}, *stream));
  }
  void Backward() {
    CHECK_OK(AttentionBackward({.shape = shape,
                                .qkv = qkv.view(),
                                .o = o.view(),
                                .lse_HT = lse.view(),
                                .d_o = d_o.view(),
                                .d_qkv = d_qkv.view()},
                               *stream));
  }
  std::vector<int32_t> offsets;
  AttentionShape shape;
  StreamWithWorkspace stream;
  HostTensor<float> qkv{{0, 0}}, o{{0, 0}}, lse{{0, 0}}, d_o{{0, 0}}, d_qkv{{0, 0}};
};

void BM_AttentionForward(benchmark::State& state) {
  Pack pack(state);
  pack.Forward();
  const double flops = pack.stream->ledger().total_flops();
  for (auto _ : state) pack.Forward();
  ReportFlops(state, flops);
}
BENCHMARK(BM_AttentionForward)->Apply(Shapes);

void BM_AttentionBackward(benchmark::State& state) {
  Pack pack(state);
  pack.Forward();
  pack.stream->ledger().Reset();
  pack.Backward();
  const double flops = pack.stream->ledger().total_flops();
  for (auto _ : state) pack.Backward();
  ReportFlops(state, flops);
}
BENCHMARK(BM_AttentionBackward)->Apply(Shapes);

}  // namespace
}  // namespace hetero
