// Forward and backward of one block at the sizes of the small hybrid preset, 8 rows of 48 tokens.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/ceiling.h"

namespace hetero {
namespace {

void BM_MoeBlockStep(benchmark::State& state) {
  constexpr int64_t kTokens = 384;
  const MoeConfig config = {.hidden_size = 128,
                            .num_experts = 8,
                            .top_k = 2,
                            .ffn_size = 96,
                            .shared_ffn_size = 128,
                            .router_scaling = 2.5,
                            .aux_loss_coefficient = 1e-2};
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(MoeBlock::Parameters(config, "l.")).value(), {},
                             {}, memory)
          .value();
  CHECK_OK(store->Initialize(1));
  std::vector<int64_t> counts(config.num_experts);
  std::vector<float> balance_loss(1);
  const MoeBlock block =
      MoeBlock::Create(config, "l.", *store,
                       {.tokens_per_expert_E = {counts.data(), DType::kI64, {config.num_experts}},
                        .balance_loss_1 = {balance_loss.data(), DType::kF32, {1}}},
                       nullptr, nullptr)
          .value();
  TestContext context;
  MoeBlock::Saved saved;
  std::vector<float> hidden(kTokens * config.hidden_size), d_out = hidden, d_hidden = hidden;
  const auto matrix = [&](std::vector<float>& values) {
    return TensorView(std::span<float>(values), {kTokens, config.hidden_size});
  };
  FillRandom(matrix(hidden), 1, 1);
  FillRandom(matrix(d_out), 2, 1);
  for (auto _ : state) {
    d_hidden = d_out;
    context.Reset();
    CHECK_OK(
        block.Forward(*context, matrix(hidden), {.num_rows = 8, .row_length = 48}, saved).status());
    CHECK_OK(block.Backward(*context, saved, matrix(d_hidden)));
  }
  ReportOperations(state, context->stream.ledger());
}
BENCHMARK(BM_MoeBlockStep);

}  // namespace
}  // namespace hetero
