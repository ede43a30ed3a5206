#include "hetero/models/nemotron/hybrid_flops.h"

#include <array>
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
  EXPECT_NEAR(HybridForwardFlops(config, std::array<int64_t, 1>{8192}) / 8192 * 1e-9,
              model.forward_gflops, 5e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Nemotron, PublishedModelTest,
    ::testing::Values(
        Model{"twenty_layers", kTwentyLayers, 8, {11515677504, 10217324544, 1777290048}, 3.082},
        Model{"production", kProduction, 8, {31657765568, 29374808064, 3659901632}, 7.230},
        Model{"published", kPublished, 2, {31577937344, 29374808064, 3580073408}, 6.936}),
    [](const auto& info) { return info.param.label; });

// Attention is within sequences: two short ones need less than a long one of as many tokens.
TEST(HybridFlopsTest, OnlyAttentionDependsOnWhereSequencesEnd) {
  const HybridConfig config = Nemotron("M*", 8), without = Nemotron("ME", 8);
  const std::array<int64_t, 1> one = {1024};
  const std::array<int64_t, 2> two = {512, 512};
  EXPECT_EQ(HybridForwardFlops(config, one) - HybridForwardFlops(config, two),
            2.0 * 4096 * (1024 * 1024 - 2 * 512 * 512));
  EXPECT_EQ(HybridForwardFlops(without, one), HybridForwardFlops(without, two));
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
