// The block against transformers' NemotronH, whose numbers testdata/generate.py wrote. It weighs an
// expert's output where the block weighs its activation, and its routing is by sorted scores.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/blocks/moe/moe.h"
#include "hetero/models/testing/golden_file.h"
#include "hetero/models/testing/gradient_check.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

TEST(MoeGoldenTest, ForwardAndGradientsAreThoseOfNemotronH) {
  constexpr int64_t kTokens = 10;
  const MoeConfig config = {.hidden_size = 16,
                            .num_experts = 6,
                            .top_k = 2,
                            .ffn_size = 12,
                            .shared_ffn_size = 20,
                            .router_scaling = 2.5};
  MemoryLedger memory;
  const auto store =
      ParameterStore::Create(ParameterTable::Make(MoeBlock::Parameters(config, "l.")).value(), {},
                             {}, memory)
          .value();
  std::vector<int64_t> counts(config.num_experts);
  std::vector<float> balance_loss(1);
  const MoeBlock block =
      MoeBlock::Create(config, "l.", *store,
                       {.tokens_per_expert_E = {counts.data(), DType::kI64, {config.num_experts}},
                        .balance_loss_1 = {balance_loss.data(), DType::kF32, {1}}},
                       nullptr, nullptr, {}, memory)
          .value();
  GoldenFile golden("models/blocks/moe/testdata/nemotron_h_moe.f32");
  golden.ReadValues(store->parameters());
  std::vector<float> hidden = golden.Next(kTokens * 16);
  std::vector<float> d_hidden = golden.Next(kTokens * 16);
  const ErrorSpec spec{.relative_to_max = 64 * Epsilon<float>()};
  TestContext context;
  MoeBlock::Saved saved;
  const absl::StatusOr<TensorView> out =
      block.Forward(*context, TensorView(hidden.data(), DType::kF32, {kTokens, 16}),
                    {.num_rows = 2, .row_length = 5}, saved);
  ASSERT_THAT(out, IsOk());
  EXPECT_THAT(out->values<float>(), IsCloseTo(golden.Next(kTokens * 16), spec));
  ASSERT_THAT(
      block.Backward(*context, saved, TensorView(d_hidden.data(), DType::kF32, {kTokens, 16})),
      IsOk());
  EXPECT_THAT(d_hidden, IsCloseTo(golden.Next(kTokens * 16), spec));
  golden.ExpectGradients(store->parameters(), spec);
  EXPECT_TRUE(golden.AtEnd());
}

}  // namespace
}  // namespace hetero
