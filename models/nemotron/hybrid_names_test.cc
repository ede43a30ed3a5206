#include "hetero/models/nemotron/hybrid_names.h"

#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid_harness.h"
#include "hetero/models/testing/name_map_check.h"
#include "hetero/params/shard.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr char kPublishedPattern[] = "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME";

// Nemotron-3-Nano's sizes.
HybridConfig LargeConfig(std::string_view pattern, int64_t num_kv_groups) {
  HybridConfig config{
      .pattern = LayerPattern::Parse(pattern).value(),
      .hidden_size = 2688,
      .vocabulary_size = 131072,
      .attention = {.num_heads = 32, .num_kv_groups = num_kv_groups, .head_dim = 128},
      .mamba =
          {.num_heads = 64, .head_dim = 64, .num_groups = 8, .state_size = 128, .chunk_size = 128},
      .experts = {.num_experts = 128, .top_k = 6, .ffn_size = 1856, .shared_ffn_size = 3712},
      .mlp = {.ffn_size = 3712}};
  config.attention.hidden_size = config.mamba.hidden_size = config.experts.hidden_size =
      config.mlp.hidden_size = config.hidden_size;
  return config;
}

class HybridNamesTest : public testing::TestWithParam<NameScheme> {};

TEST_P(HybridNamesTest, NameEveryElementOfEveryKindOfLayerOnce) {
  for (const HybridConfig& config : {SmallHybridConfig("ME*-M"), OtherHybridConfig("ME*-M")}) {
    ExpectNamesAllOnce(MakeHybridTable(config, {}).value().specs(),
                       HybridNames(config, GetParam(), "some.prefix.").value());
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, HybridNamesTest,
                         testing::Values(NameScheme::kMegatron, NameScheme::kHuggingFace));

TEST(HybridNamesMegatronTest, KeysAndShapesAreThoseOfItsShardedCheckpoints) {
  const HybridConfig config = LargeConfig("M*E-", 8);
  const std::string m = "p.decoder.layers.0.mixer.", a = "p.decoder.layers.1.self_attention.",
                    e = "p.decoder.layers.2.", d = "p.decoder.layers.3.mlp.";
  EXPECT_THAT(KeyShapes(HybridNames(config, NameScheme::kMegatron, "p.").value()),
              UnorderedElementsAre(
                  Pair("p.embedding.word_embeddings.weight", ElementsAre(131072, 2688)),
                  Pair(m + "in_proj.layer_norm_weight", ElementsAre(2688)),
                  Pair(m + "in_proj.weight.z", ElementsAre(4096, 2688)),
                  Pair(m + "in_proj.weight.x", ElementsAre(4096, 2688)),
                  Pair(m + "in_proj.weight.B", ElementsAre(1024, 2688)),
                  Pair(m + "in_proj.weight.C", ElementsAre(1024, 2688)),
                  Pair(m + "in_proj.weight.dt", ElementsAre(64, 2688)),
                  Pair(m + "conv1d.weight.x", ElementsAre(4096, 1, 4)),
                  Pair(m + "conv1d.weight.B", ElementsAre(1024, 1, 4)),
                  Pair(m + "conv1d.weight.C", ElementsAre(1024, 1, 4)),
                  Pair(m + "conv1d.bias.x", ElementsAre(4096)),
                  Pair(m + "conv1d.bias.B", ElementsAre(1024)),
                  Pair(m + "conv1d.bias.C", ElementsAre(1024)),
                  Pair(m + "dt_bias", ElementsAre(64)), Pair(m + "A_log", ElementsAre(64)),
                  Pair(m + "D", ElementsAre(64)), Pair(m + "norm.weight", ElementsAre(4096)),
                  Pair(m + "out_proj.weight", ElementsAre(2688, 4096)),
                  Pair(a + "linear_qkv.layer_norm_weight", ElementsAre(2688)),
                  Pair(a + "linear_qkv.weight", ElementsAre(6144, 2688)),
                  Pair(a + "linear_proj.weight", ElementsAre(2688, 4096)),
                  Pair(e + "pre_mlp_layernorm.weight", ElementsAre(2688)),
                  Pair(e + "mlp.router.weight", ElementsAre(128, 2688)),
                  Pair(e + "mlp.router.expert_bias", ElementsAre(128)),
                  Pair(e + "mlp.experts.experts.linear_fc1.weight", ElementsAre(128, 1856, 2688)),
                  Pair(e + "mlp.experts.experts.linear_fc2.weight", ElementsAre(128, 2688, 1856)),
                  Pair(e + "mlp.shared_experts.linear_fc1.weight", ElementsAre(3712, 2688)),
                  Pair(e + "mlp.shared_experts.linear_fc2.weight", ElementsAre(2688, 3712)),
                  Pair(d + "linear_fc1.layer_norm_weight", ElementsAre(2688)),
                  Pair(d + "linear_fc1.weight", ElementsAre(3712, 2688)),
                  Pair(d + "linear_fc2.weight", ElementsAre(2688, 3712)),
                  Pair("p.decoder.final_norm.weight", ElementsAre(2688)),
                  Pair("p.output_layer.weight", ElementsAre(131072, 2688))));
}

// Which row of the whole parameter is row `local` of a tensor-parallel rank.
int64_t WholeRow(const ParameterSpec& spec, int64_t tp, int64_t rank, int64_t local) {
  const Shard shard = ShardOf(spec, {.tp = {.rank = rank, .size = tp}}).value();
  for (const ShardBox& box : shard.boxes) {
    const int64_t in_box = local - box.local_begin[0];
    if (in_box >= 0 && in_box < box.extent[0]) return box.logical_begin[0] + in_box;
  }
  return -1;
}

TEST(HybridNamesMegatronTest, RowsOfARanksMambaAreRowsOfTheFusedOneAndOfItsParts) {
  const HybridConfig config = LargeConfig("M", 8);
  const ParameterTable table = MakeHybridTable(config, {}).value();
  const std::vector<BoxMap> maps = HybridNames(config, NameScheme::kMegatron, "").value();
  const std::string in_proj = "decoder.layers.0.mixer.in_proj.weight";
  const std::string conv = "decoder.layers.0.mixer.conv1d.weight";
  const struct {
    const std::string& name;
    int64_t tp, rank, local, whole;
    std::string_view part;
    int64_t row;
  } cases[] = {{in_proj, 2, 0, 0, 0, ".z", 0},
               {in_proj, 2, 0, 2047, 2047, ".z", 2047},
               {in_proj, 2, 0, 2048, 4096, ".x", 0},
               {in_proj, 2, 0, 4096, 8192, ".B", 0},
               {in_proj, 2, 0, 4608, 9216, ".C", 0},
               {in_proj, 2, 0, 5120, 10240, ".dt", 0},
               {in_proj, 2, 0, 5151, 10271, ".dt", 31},
               {in_proj, 2, 1, 0, 2048, ".z", 2048},
               {in_proj, 2, 1, 2047, 4095, ".z", 4095},
               {in_proj, 2, 1, 2048, 6144, ".x", 2048},
               {in_proj, 2, 1, 4096, 8704, ".B", 512},
               {in_proj, 2, 1, 4608, 9728, ".C", 512},
               {in_proj, 2, 1, 5120, 10272, ".dt", 32},
               {in_proj, 2, 1, 5151, 10303, ".dt", 63},
               {in_proj, 4, 3, 0, 3072, ".z", 3072},
               {in_proj, 4, 3, 1024, 7168, ".x", 3072},
               {in_proj, 4, 3, 2048, 8960, ".B", 768},
               {in_proj, 4, 3, 2304, 9984, ".C", 768},
               {in_proj, 4, 3, 2560, 10288, ".dt", 48},
               {in_proj, 4, 3, 2575, 10303, ".dt", 63},
               {conv, 2, 0, 0, 0, ".x", 0},
               {conv, 2, 0, 2048, 4096, ".B", 0},
               {conv, 2, 0, 2560, 5120, ".C", 0},
               {conv, 2, 0, 3071, 5631, ".C", 511},
               {conv, 2, 1, 0, 2048, ".x", 2048},
               {conv, 2, 1, 2047, 4095, ".x", 4095},
               {conv, 2, 1, 2048, 4608, ".B", 512},
               {conv, 2, 1, 2560, 5632, ".C", 512},
               {conv, 2, 1, 3071, 6143, ".C", 1023}};
  for (const auto& test : cases) {
    const ParameterSpec& spec = **table.Find(test.name);
    const int64_t whole = WholeRow(spec, test.tp, test.rank, test.local);
    EXPECT_EQ(whole, test.whole) << test.name << " tp " << test.tp << " row " << test.local;
    EXPECT_EQ(FindRow(maps, test.name, whole),
              (KeyRow{absl::StrCat(test.name, test.part), test.row}));
  }
}

TEST(HybridNamesHuggingFaceTest, QueriesKeysAndValuesAreApart) {
  const std::string qkv = "decoder.layers.0.self_attention.linear_qkv.weight";
  const std::string mixer = "backbone.layers.0.mixer.";
  const struct {
    int64_t groups;
    std::string_view projection;
    int64_t row, fused;
  } cases[] = {{8, "q", 0, 0},      {8, "q", 512, 768},   {8, "k", 0, 512},     {8, "k", 128, 1280},
               {8, "v", 0, 640},    {8, "v", 1023, 6143}, {2, "q", 2048, 2304}, {2, "k", 0, 2048},
               {2, "k", 128, 4352}, {2, "v", 0, 2176},    {2, "v", 255, 4607}};
  for (const auto& test : cases) {
    const auto maps =
        HybridNames(LargeConfig("*", test.groups), NameScheme::kHuggingFace, "").value();
    EXPECT_EQ(FindRow(maps, qkv, test.fused),
              (KeyRow{absl::StrCat(mixer, test.projection, "_proj.weight"), test.row}))
        << test.groups << " groups";
  }
}

TEST(HybridNamesHuggingFaceTest, KeysAreThoseOfNemotronH) {
  const HybridConfig config = SmallHybridConfig("M*E-");
  std::vector<std::string> expected = {"backbone.embeddings.weight", "backbone.norm_f.weight",
                                       "lm_head.weight"};
  for (const int layer : {0, 1, 2, 3}) {
    expected.push_back(absl::StrCat("backbone.layers.", layer, ".norm.weight"));
  }
  for (const char* name : {"in_proj.weight", "conv1d.weight", "conv1d.bias", "dt_bias", "A_log",
                           "D", "norm.weight", "out_proj.weight"}) {
    expected.push_back(absl::StrCat("backbone.layers.0.mixer.", name));
  }
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    expected.push_back(absl::StrCat("backbone.layers.1.mixer.", name, ".weight"));
  }
  for (const char* name : {"gate.weight", "gate.e_score_correction_bias",
                           "shared_experts.up_proj.weight", "shared_experts.down_proj.weight"}) {
    expected.push_back(absl::StrCat("backbone.layers.2.mixer.", name));
  }
  for (int expert = 0; expert < 4; ++expert) {
    for (const char* name : {"up_proj", "down_proj"}) {
      expected.push_back(
          absl::StrCat("backbone.layers.2.mixer.experts.", expert, ".", name, ".weight"));
    }
  }
  for (const char* name : {"up_proj", "down_proj"}) {
    expected.push_back(absl::StrCat("backbone.layers.3.mixer.", name, ".weight"));
  }
  std::vector<std::string> keys;
  for (const auto& [key, shape] :
       KeyShapes(HybridNames(config, NameScheme::kHuggingFace, "").value())) {
    keys.push_back(key);
  }
  EXPECT_THAT(keys, testing::UnorderedElementsAreArray(expected));
}

// What only some configurations have: it stands beside the weights, and a tied table once.
TEST(HybridNamesTest, BiasesAreBesideTheirWeights) {
  const auto biases = [](NameScheme scheme) {
    std::vector<std::string> keys;
    for (const auto& [key, shape] :
         KeyShapes(HybridNames(OtherHybridConfig("M*E-"), scheme, "").value())) {
      EXPECT_FALSE(absl::StrContains(key, "shared_experts")) << key;
      if (absl::StrContains(key, "bias") || absl::StrContains(key, "head") ||
          absl::StrContains(key, "output_layer")) {
        keys.push_back(key);
      }
    }
    return keys;
  };
  const std::string m = "decoder.layers.0.mixer.", a = "decoder.layers.1.self_attention.";
  EXPECT_THAT(biases(NameScheme::kMegatron),
              UnorderedElementsAre(m + "in_proj.bias.z", m + "in_proj.bias.x", m + "in_proj.bias.B",
                                   m + "in_proj.bias.C", m + "in_proj.bias.dt", m + "out_proj.bias",
                                   m + "dt_bias", a + "linear_qkv.bias", a + "linear_proj.bias",
                                   "decoder.layers.2.mlp.router.expert_bias",
                                   "decoder.layers.3.mlp.linear_fc1.bias",
                                   "decoder.layers.3.mlp.linear_fc2.bias"));
  const auto h = [](int layer, std::string_view name) {
    return absl::StrCat("backbone.layers.", layer, ".mixer.", name);
  };
  EXPECT_THAT(biases(NameScheme::kHuggingFace),
              UnorderedElementsAre(h(0, "in_proj.bias"), h(0, "out_proj.bias"), h(0, "dt_bias"),
                                   h(1, "q_proj.bias"), h(1, "k_proj.bias"), h(1, "v_proj.bias"),
                                   h(1, "o_proj.bias"), h(2, "gate.e_score_correction_bias"),
                                   h(3, "up_proj.bias"), h(3, "down_proj.bias")));
}

TEST(HybridNamesHuggingFaceTest, TheLargestTableHasThePublishedModelsTensors) {
  const auto shapes = KeyShapes(
      HybridNames(LargeConfig(kPublishedPattern, 2), NameScheme::kHuggingFace, "").value());
  int64_t elements = 0, biases = 0;
  for (const auto& [key, shape] : shapes) {
    const int64_t of_key =
        std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    elements += of_key;
    if (absl::EndsWith(key, "e_score_correction_bias")) biases += of_key;
  }
  // Per M layer 9 tensors, * 5, E 5 and 2 an expert, and three more.
  EXPECT_EQ(shapes.size(), 23 * 9 + 6 * 5 + 23 * (5 + 2 * 128) + 3);
  EXPECT_EQ(biases, 23 * 128);
  EXPECT_EQ(elements - biases, 31'577'937'344);
}

}  // namespace
}  // namespace hetero
