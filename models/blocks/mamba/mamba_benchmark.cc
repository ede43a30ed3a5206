// Forward and backward of one block at the sizes of the small hybrid preset, 8 rows of 48 tokens.

#include <span>
#include <vector>

#include "absl/log/check.h"
#include "benchmark/benchmark.h"
#include "hetero/models/blocks/mamba/mamba.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"
#include "hetero/tensor/ops/ceiling.h"

namespace hetero {
namespace {

void BM_MambaBlockStep(benchmark::State& state) {
  constexpr int64_t kTokens = 384;
  const MambaConfig config = {.hidden_size = 128,
                              .num_heads = 8,
                              .head_dim = 32,
                              .num_groups = 2,
                              .state_size = 16,
                              .chunk_size = 16};
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(MambaBlock::Parameters(config, "l.")).value(), {},
                             {}, memory)
          .value();
  CHECK_OK(store->Initialize(1));
  const MambaBlock block = MambaBlock::Create(config, "l.", *store, nullptr).value();
  TestContext context;
  MambaBlock::Saved saved;
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
BENCHMARK(BM_MambaBlockStep);

}  // namespace
}  // namespace hetero
