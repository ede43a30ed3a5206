// Forward and backward of one block at the sizes of the small hybrid preset.

#include "benchmark/benchmark.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/testing/module_benchmark.h"

namespace hetero {
namespace {

void BM_MambaBlockStep(benchmark::State& state) {
  const MambaConfig config = {.hidden_size = 128,
                              .num_heads = 8,
                              .head_dim = 32,
                              .num_groups = 2,
                              .state_size = 16,
                              .chunk_size = 16};
  ModuleBenchmark module(MambaBlock::Parameters(config, "l."));
  module.RunBlock(state, MambaBlock::Create(config, "l.", module.parameters(), nullptr).value(),
                  config.hidden_size);
}
BENCHMARK(BM_MambaBlockStep);

}  // namespace
}  // namespace hetero
