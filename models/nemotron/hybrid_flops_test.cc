#include "hetero/models/nemotron/hybrid_flops.h"

#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/params/counts.h"

namespace hetero {
namespace {

constexpr std::string_view kTwentyLayers = "MEMEM*EMEMEM*EMEMEM*";
constexpr std::string_view kProduction = "MEMEM*EMEM*EMEM*EMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEME";
constexpr std::string_view kPublished = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME";

HybridConfig Nemotron(std::string_view pattern, int64_t num_kv_groups) {
  constexpr int64_t kHidden = 2688;
  return {.pattern = LayerPattern::Parse(pattern).value(),
          .hidden_size = kHidden,
          .vocabulary_size = 131072,
          .attention = {.hidden_size = kHidden,
                        .num_heads = 32,
                        .num_kv_groups = num_kv_groups,
                        .head_dim = 128},
          .mamba = {.hidden_size = kHidden,
                    .num_heads = 64,
                    .head_dim = 64,
                    .num_groups = 8,
                    .state_size = 128,
                    .chunk_size = 128},
          .experts = {.hidden_size = kHidden,
                      .num_experts = 128,
                      .top_k = 6,
                      .ffn_size = 1856,
                      .shared_ffn_size = 3712}};
}

ParameterTable TableOf(const HybridConfig& config) { return MakeHybridTable(config, {}).value(); }

// All, of experts and used by a token, as published.
struct Model {
  std::string label;
  std::string_view pattern;
  int64_t num_kv_groups;
  ParameterCounts counts;
  double forward_gflops;  // a token of 8192, to four digits
};

class PublishedModelTest : public ::testing::TestWithParam<Model> {};

TEST_P(PublishedModelTest, ParametersAndOperationsAToken) {
  const Model& model = GetParam();
  const HybridConfig config = Nemotron(model.pattern, model.num_kv_groups);
  const ParameterTable table = TableOf(config);
  const ParameterCounts counts = CountParameters(table.specs());
  EXPECT_EQ(counts.all, model.counts.all);
  EXPECT_EQ(counts.trainable, model.counts.all);
  EXPECT_EQ(counts.experts, model.counts.experts);
  EXPECT_EQ(counts.active, model.counts.active);
  const Flops flops = HybridFlops(config, 8192, /*passes_gradient=*/false);
  EXPECT_NEAR(flops.forward / 8192 * 1e-9, model.forward_gflops, 5e-4);
  EXPECT_EQ(flops.training, 3 * flops.forward);
}

INSTANTIATE_TEST_SUITE_P(
    Nemotron, PublishedModelTest,
    ::testing::Values(
        Model{"twenty_layers", kTwentyLayers, 8, {11515677504, 10217324544, 1777290048}, 3.082},
        Model{"production", kProduction, 8, {31657765568, 29374808064, 3659901632}, 7.230},
        Model{"published", kPublished, 2, {31577937344, 29374808064, 3580073408}, 6.936}),
    [](const auto& info) { return info.param.label; });

// What a layer of `kind` adds to a sequence of 6 tokens, beside the head: hidden size 8. `others`:
// with what is off by default, of which biases and a tied table are no operations.
double LayerFlops(char kind, bool others = false) {
  const auto flops = [&](std::string pattern) {
    HybridConfig config = {
        .pattern = LayerPattern::Parse(pattern).value(),
        .hidden_size = 8,
        .vocabulary_size = 11,
        .attention = {.hidden_size = 8, .num_heads = 4, .num_kv_groups = 2, .head_dim = 3},
        .mamba = {.hidden_size = 8,
                  .num_heads = 4,
                  .head_dim = 3,
                  .num_groups = 2,
                  .state_size = 5,
                  .conv_kernel = 4,
                  .chunk_size = 2},
        .experts =
            {.hidden_size = 8, .num_experts = 10, .top_k = 3, .ffn_size = 7, .shared_ffn_size = 9},
        .mlp = {.hidden_size = 8, .ffn_size = 13}};
    if (others) {
      config.tie_embeddings = true;
      config.attention.use_bias = config.mlp.use_bias = config.mamba.use_bias = true;
      config.mamba.conv_bias = false;
      config.experts.shared_ffn_size = 0;
    }
    return HybridFlops(config, 6, /*passes_gradient=*/false).forward;
  };
  return flops({'-', kind}) - flops("-");
}

TEST(HybridFlopsTest, CountedByHand) {
  // q of 4 heads, k and v of 2, the output; then 6 x 6 / 2 pairs of each of 4 heads, q k and p v.
  EXPECT_EQ(LayerFlops('*'), 6 * 2 * 8 * (12 + 2 * 6) + 6 * 2 * 12 * 8 + 18 * 4 * (2 * 3 + 2 * 3));
  // z and x of 12, B and C of 2 x 5, dt of 4; the convolution of x, B and C; the output; in chunks
  // of 2 tokens C Bᵀ of a group, and of a head the state, what it gives, and the chunk's own.
  EXPECT_EQ(LayerFlops('M'),
            6 * 2 * 8 * (12 + 12 + 10 + 10 + 4) + 6 * 2 * 4 * (12 + 10 + 10) + 6 * 2 * 12 * 8 +
                3 * (2 * (2 * 2 * 2 * 5) + 4 * (2 * 3 * 2 * 5 + 2 * 2 * 5 * 3 + 2 * 2 * 2 * 3)));
  // The router, three experts, the shared one.
  EXPECT_EQ(LayerFlops('E'), 6 * 2 * 8 * 10 + 6 * 3 * (2 * 2 * 8 * 7) + 6 * (2 * 2 * 8 * 9));
  EXPECT_EQ(LayerFlops('-'), 6 * (2 * 2 * 8 * 13));
  for (const char kind : {'*', 'M', '-'}) EXPECT_EQ(LayerFlops(kind, true), LayerFlops(kind));
  EXPECT_EQ(LayerFlops('E') - LayerFlops('E', true), 6 * (2 * 2 * 8 * 9));
}

// The head, its logits, and a layer without a scan or attention.
TEST(HybridFlopsTest, AFrozenModelHasNoGradientsOfItsParameters) {
  HybridConfig config = {.pattern = LayerPattern::Parse("-").value(),
                         .hidden_size = 8,
                         .vocabulary_size = 11,
                         .mlp = {.hidden_size = 8, .ffn_size = 13}};
  const double forward = 6 * (2 * 8 * 11 + 2 * 2 * 8 * 13);
  EXPECT_EQ(HybridFlops(config, 6, /*passes_gradient=*/false), (Flops{forward, 3 * forward}));
  config.trainable = false;
  EXPECT_EQ(HybridFlops(config, 6, /*passes_gradient=*/false), (Flops{forward, forward}));
  EXPECT_EQ(HybridFlops(config, 6, /*passes_gradient=*/true), (Flops{forward, 2 * forward}));
  config = Nemotron("M*", 8);
  config.trainable = false;
  const auto scores = [&](int64_t length) {
    return HybridFlops(config, length, /*passes_gradient=*/true).training;
  };
  // Whose gradients need both products again: 3 times 2 operations for half of the pairs.
  EXPECT_EQ(scores(2048) - 2 * scores(1024), 3 * 2.0 * 4096 * (2048 * 2048 - 2 * 1024 * 1024));
}

// What the ranks of one replica own is the model, whatever the layout.
TEST(HybridFlopsTest, RanksOwnTheModelOnceInEveryLayout) {
  HybridConfig config = Nemotron("ME*E*EM*", 2);
  for (const int64_t tp : {1, 2, 4}) {
    for (const int64_t ep : {1, 4}) {
      for (const int64_t pp : {1, 2}) {
        int64_t dense = 0, experts = 0;
        for (int64_t stage = 0; stage < pp; ++stage) {
          const ShardSpec::Axis pipeline = {stage, pp};
          const ParameterTable table = MakeHybridTable(config, {.pp = pipeline}).value();
          std::vector<ParameterSpec> of_group[2];
          for (const ParameterSpec& spec : table.specs()) {
            of_group[spec.gradient_group == GradientGroup::kExpert].push_back(spec);
          }
          for (int64_t rank = 0; rank < tp; ++rank) {
            dense += CountRankParameters(of_group[0], {.tp = {rank, tp}, .pp = pipeline})->owned;
          }
          for (int64_t rank = 0; rank < ep; ++rank) {
            experts += CountRankParameters(of_group[1], {.ep = {rank, ep}, .pp = pipeline})->owned;
          }
        }
        const ParameterCounts counts = CountParameters(TableOf(config).specs());
        EXPECT_EQ(experts, counts.experts);
        EXPECT_EQ(dense, counts.all - counts.experts) << "tp " << tp << " pp " << pp;
      }
    }
  }
}

}  // namespace
}  // namespace hetero
