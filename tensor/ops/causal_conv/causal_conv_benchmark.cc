// The short convolution at the sizes of the small hybrid preset (channels 320) and of one tensor-
// parallel eighth of a large one (768).

#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/ceiling.h"

namespace hetero {
namespace {

struct Problem {
  explicit Problem(const benchmark::State& state)
      : tokens(state.range(0)), channels(state.range(1)) {
    for (std::vector<float>* wide : {&x, &d_x}) wide->assign(tokens * (channels + 264), 0.5f);
    out.assign(tokens * channels, 0.25f);
    d_out = out;
    weight.assign(channels * 4, 0.1f);
    bias.assign(channels, 0.1f);
  }
  TensorView Wide(std::vector<float>& v) {
    return TensorView(v.data(), DType::kF32, {tokens, channels + 264}).Columns(256, channels);
  }
  TensorView Dense(std::vector<float>& v) {
    return TensorView(v.data(), DType::kF32, {tokens, channels});
  }
  CausalConvInputs Inputs() {
    return {Wide(x),
            TensorView(weight.data(), DType::kF32, {channels, 4}),
            TensorView(bias.data(), DType::kF32, {channels}),
            {.num_rows = tokens / 48, .row_length = 48}};
  }

  int64_t tokens, channels;
  std::vector<float> x, d_x, out, d_out, weight, bias;
  MemoryLedger ledger;
  Arena arena = Arena::Create({}, MemoryLabel::kWorkspace, 1 << 20, ledger).value();
  Stream stream{Device{}, arena};
};

void BM_CausalConvForward(benchmark::State& state) {
  Problem p(state);
  for (auto _ : state) CHECK_OK(CausalConvForward(p.Inputs(), p.Dense(p.out), p.stream));
  ReportBytes(state, 2.0 * p.tokens * p.channels * 4);
}

void BM_CausalConvBackward(benchmark::State& state) {
  Problem p(state);
  std::vector<float> d_weight(p.weight.size()), d_bias(p.bias.size());
  for (auto _ : state) {
    CHECK_OK(CausalConvBackward(
        p.Inputs(), p.Dense(p.d_out),
        {.d_x_TC = p.Wide(p.d_x),
         .d_weight_CK = TensorView(d_weight.data(), DType::kF32, {p.channels, 4}),
         .d_bias_C = TensorView(d_bias.data(), DType::kF32, {p.channels}),
         .accumulate = false},
        p.stream));
  }
  ReportBytes(state, 3.0 * p.tokens * p.channels * 4);
}

BENCHMARK(BM_CausalConvForward)
    ->ArgNames({"tokens", "channels"})
    ->Args({384, 320})
    ->Args({8160, 768});
BENCHMARK(BM_CausalConvBackward)
    ->ArgNames({"tokens", "channels"})
    ->Args({384, 320})
    ->Args({8160, 768});

}  // namespace
}  // namespace hetero
