// The parameters of a language model.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/params/shard.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

// The shards of any number of ranks are whole tiles, and together the vocabulary and no row more.
TEST(HybridTableTest, TheVocabularyIsCutIntoWholeTiles) {
  HybridConfig config = SmallHybridConfig("M");
  config.mamba.num_groups = config.mamba.num_heads = 8;  // what eight ranks can divide
  for (const int64_t vocabulary : {40, 512, 50257, 131072}) {
    config.vocabulary_size = vocabulary;
    for (const int64_t ranks : {1, 2, 8}) {
      int64_t rows = 0;
      for (int64_t rank = 0; rank < ranks; ++rank) {
        const ShardSpec spec{.tp = {.rank = rank, .size = ranks}};
        const ParameterTable table = MakeHybridTable(config, spec).value();
        EXPECT_EQ(table.specs().front().shape, (std::vector<int64_t>{vocabulary, 8}));
        const Shard shard = ShardOf(table.specs().front(), spec).value();
        EXPECT_EQ(shard.boxes[0].logical_begin[0], rows);
        rows += shard.shape[0];
        EXPECT_TRUE(shard.shape[0] % 128 == 0 || rows == vocabulary) << rank << " of " << ranks;
      }
      EXPECT_EQ(rows, vocabulary);
    }
  }
}

TEST(HybridTableTest, TiedEmbeddingsAreOneMatrixOfOneStage) {
  HybridConfig config = SmallHybridConfig("M*");
  const int64_t apart = MakeHybridTable(config, {}).value().num_parameters();
  config.tie_embeddings = true;
  EXPECT_EQ(apart - MakeHybridTable(config, {}).value().num_parameters(), 40 * 8);
  EXPECT_THAT(MakeHybridTable(config, {.pp = {.rank = 0, .size = 2}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tie_embeddings is true with pp 2, must be on the one stage that "
                                 "embeds and predicts; nearest is 1")));
}

int64_t CountParameters(std::string_view pattern, HybridConfig config) {
  config.pattern = LayerPattern::Parse(pattern).value();
  config.attention.hidden_size = config.mamba.hidden_size = config.experts.hidden_size =
      config.hidden_size;
  return MakeHybridTable(config, {}).value().num_parameters();
}

TEST(HybridTableTest, ParameterCountsOfPublishedModels) {
  HybridConfig config{
      .hidden_size = 2688,
      .vocabulary_size = 131072,
      .attention = {.num_heads = 32, .num_kv_groups = 8, .head_dim = 128},
      .mamba = {.num_heads = 64, .head_dim = 64, .num_groups = 8, .state_size = 128},
      .experts = {.num_experts = 128, .top_k = 6, .ffn_size = 1856, .shared_ffn_size = 3712}};
  EXPECT_EQ(CountParameters("MEMEM*EMEMEM*EMEMEM*", config), 11515677504);
  const std::string_view production = "MEMEM*EMEM*EMEM*EMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEME";
  EXPECT_EQ(CountParameters(production, config), 31657765568);
  config.attention.num_kv_groups = 2;
  EXPECT_EQ(CountParameters(production, config), 31624735424);
  EXPECT_EQ(CountParameters("MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", config),
            31577937344);
  EXPECT_EQ(
      CountParameters(
          "MEM*E",
          {.hidden_size = 128,
           .vocabulary_size = 512,
           .attention = {.num_heads = 4, .num_kv_groups = 2, .head_dim = 32},
           .mamba = {.num_heads = 8, .head_dim = 32, .num_groups = 2, .state_size = 16},
           .experts = {.num_experts = 8, .top_k = 2, .ffn_size = 96, .shared_ffn_size = 128}}),
      860592);
}

}  // namespace
}  // namespace hetero
