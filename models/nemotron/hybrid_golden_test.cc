// The language model against transformers' NemotronH, whose numbers testdata/generate.py wrote.

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/testing/golden_file.h"
#include "hetero/models/testing/token_batch.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

HybridConfig GoldenConfig(std::string_view pattern) {
  HybridConfig config{
      .pattern = LayerPattern::Parse(pattern).value(),
      .hidden_size = 32,
      .vocabulary_size = 131,
      .attention = {.num_heads = 4, .num_kv_groups = 2, .head_dim = 8},
      .mamba = {.num_heads = 4, .head_dim = 8, .num_groups = 2, .state_size = 8, .chunk_size = 4},
      .experts = {.num_experts = 4,
                  .top_k = 2,
                  .ffn_size = 24,
                  .shared_ffn_size = 32,
                  .router_scaling = 2.5},
      .mlp = {.ffn_size = 48}};
  config.attention.hidden_size = config.mamba.hidden_size = config.experts.hidden_size =
      config.mlp.hidden_size = config.hidden_size;
  return config;
}

// In two stages the stream between them is compared.
void ExpectThatOfFile(const HybridConfig& config, int num_stages, const char* file) {
  HybridHarness<float> m(config, num_stages);
  GoldenFile golden(file);
  golden.ReadValues(m.Parameters());
  const std::vector<float> ids = golden.Next(22), targets = golden.Next(22);
  const TestTokens tokens{.num_rows = 2,
                          .row_length = 11,
                          .ids = {ids.begin(), ids.end()},
                          .targets = {targets.begin(), targets.end()},
                          .num_edges = 0};
  const TestTokenBatch<float> batch(tokens);
  m.takes_rows = false;
  std::vector<float> no_rows;
  const ErrorSpec spec{.relative_to_max = 64 * Epsilon<float>()};

  ASSERT_THAT(m.Forward(*batch, no_rows), IsOk());
  const std::vector<float> stream = golden.Next(22 * 32);
  if (num_stages > 1) {
    EXPECT_THAT(m.boundaries[0][0].values<float>(), IsCloseTo(stream, spec));
  }
  const StageStatistics statistics = m.Take();
  const std::vector<float> losses = golden.Next(16);
  EXPECT_EQ(statistics.loss_weight, 16);
  double sum = 0;
  for (const float loss : losses) sum += loss;
  EXPECT_NEAR(statistics.loss_sum, sum, 64 * Epsilon<float>() * sum);

  ASSERT_THAT(m.Backward(no_rows), IsOk());
  golden.ExpectGradients(m.Parameters(), spec);
  EXPECT_TRUE(golden.AtEnd());

  m.context->mode = Mode::kEval;
  std::vector<double> one_by_one;
  for (int64_t t = 0; t < tokens.num_tokens(); ++t) {
    if (tokens.targets[t] == TestTokens::kMasked) continue;
    TestTokens one = tokens;
    one.targets.assign(one.num_tokens(), TestTokens::kMasked);
    one.targets[t] = tokens.targets[t];
    m.context.Reset();
    ASSERT_THAT(m.Forward(*TestTokenBatch<float>(one), no_rows), IsOk());
    one_by_one.push_back(m.Take().loss_sum);
  }
  EXPECT_THAT(one_by_one, IsCloseTo(losses, spec));
}

TEST(HybridGoldenTest, LossesAndGradientsAreThoseOfNemotronH) {
  ExpectThatOfFile(GoldenConfig("MEM|*E-"), /*num_stages=*/2,
                   "models/nemotron/testdata/nemotron_h_lm.f32");
}

TEST(HybridGoldenTest, SoAreThoseOfAnotherConfiguration) {
  HybridConfig config = GoldenConfig("MEM*E-");
  config.tie_embeddings = true;
  config.mamba.use_bias = true;
  config.mamba.conv_bias = false;
  config.mamba.conv_kernel = 3;
  config.mamba.steps.min = 0.5;
  config.experts.num_experts = 8;
  config.experts.groups = {.count = 4, .chosen = 2};
  config.experts.normalize_probabilities = false;
  ExpectThatOfFile(config, /*num_stages=*/1, "models/nemotron/testdata/nemotron_h_tied_lm.f32");
}

}  // namespace
}  // namespace hetero
