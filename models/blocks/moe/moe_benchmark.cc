// Forward and backward of one block at the sizes of the small hybrid preset.

#include <cstdint>
#include <vector>

#include "benchmark/benchmark.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/module_benchmark.h"

namespace hetero {
namespace {

void BM_MoeBlockStep(benchmark::State& state) {
  const MoeConfig config = {.hidden_size = 128,
                            .num_experts = 8,
                            .top_k = 2,
                            .ffn_size = 96,
                            .shared_ffn_size = 128,
                            .router_scaling = 2.5,
                            .aux_loss_coefficient = 1e-2};
  MemoryLedger memory;
  ModuleBenchmark module(MoeBlock::Parameters(config, "l."));
  std::vector<int64_t> counts(config.num_experts);
  float balance_loss = 0;
  const MoeStatistics statistics = {
      .tokens_per_expert_E = {counts.data(), DType::kI64, {config.num_experts}},
      .balance_loss_1 = {&balance_loss, DType::kF32, {1}}};
  module.RunBlock(
      state,
      MoeBlock::Create(config, "l.", module.parameters(), statistics, nullptr, nullptr, {}, memory)
          .value(),
      config.hidden_size);
}
BENCHMARK(BM_MoeBlockStep);

}  // namespace
}  // namespace hetero
