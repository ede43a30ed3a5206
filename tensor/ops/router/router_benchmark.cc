#include <cstdint>
#include <random>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/router/router.h"

namespace hetero {
namespace {

// Arguments: tokens, experts, top-k. Eight sequences, with the balance loss.
void BM_Router(benchmark::State& state) {
  const int64_t t = state.range(0), e = state.range(1), k = state.range(2), b = 8;
  MemoryLedger ledger;
  Arena workspace = Arena::Create({}, MemoryLabel::kWorkspace, 1 << 20, ledger).value();
  Stream stream({}, workspace);
  std::vector<float> logits(t * e), bias(e), probs(t * k), aux_sums(b * e), d_logits(t * e);
  std::vector<int32_t> experts(t * k), counts(e), aux_counts(b * e);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& x : logits) x = normal(random);
  for (float& x : bias) x = 0.01f * normal(random);
  const ConstTensorView logits_TE(std::span<float>(logits), {t, e});
  const TensorView experts_TK(std::span<int32_t>(experts), {t, k});
  const TensorView probs_TK(std::span<float>(probs), {t, k});
  const TensorView aux_counts_BE(std::span<int32_t>(aux_counts), {b, e});
  for (auto _ : state) {
    CHECK_OK(RouterForward({.logits_TE = logits_TE,
                            .expert_bias_E = {bias.data(), DType::kF32, {e}},
                            .scale = 2.5,
                            .experts_TK = experts_TK,
                            .probs_TK = probs_TK,
                            .counts_E = {counts.data(), DType::kI32, {e}},
                            .total_counts_E = {},
                            .aux_counts_BE = aux_counts_BE,
                            .aux_prob_sums_BE = {aux_sums.data(), DType::kF32, {b, e}}},
                           stream));
    CHECK_OK(RouterBackward({.logits_TE = logits_TE,
                             .experts_TK = experts_TK,
                             .d_probs_TK = probs_TK,
                             .scale = 2.5,
                             .aux_counts_BE = aux_counts_BE,
                             .aux_coefficient = 1e-2,
                             .d_logits_TE = {d_logits.data(), DType::kF32, {t, e}}},
                            stream));
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * t);
  state.SetBytesProcessed(state.iterations() * (3 * t * e + 4 * t * k) * 4);
}
BENCHMARK(BM_Router)->ArgNames({"tokens", "experts", "k"})->Args({384, 8, 2})->Args({4096, 128, 6});

}  // namespace
}  // namespace hetero
