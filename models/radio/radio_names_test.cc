#include "hetero/models/radio/radio_names.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/testing/name_map_check.h"

namespace hetero {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

RadioConfig ConfigOf(int64_t layers, int64_t heads, int64_t head_dim) {
  return {.num_layers = layers,
          .layer = {.hidden_size = heads * head_dim,
                    .num_heads = heads,
                    .head_dim = head_dim,
                    .ffn_size = 4 * heads * head_dim},
          .patch_size = 16,
          .max_image_side = 64,
          .num_class_tokens = 10};
}

class RadioNamesTest : public testing::TestWithParam<NameScheme> {};

RadioConfig ScaledAndGated(RadioConfig config) {
  config.layer.swiglu = true;
  config.layer.qkv_bias = false;
  config.layer.layer_scale_init = 1e-5;
  return config;
}

TEST_P(RadioNamesTest, NameEveryElementOnce) {
  for (const bool final_norm : {false, true}) {
    RadioConfig config = ConfigOf(3, 2, 4);
    if (final_norm) config = ScaledAndGated(config);
    config.final_norm = final_norm;
    ExpectNamesAllOnce(RadioEncoder::Parameters(config, "encoder.", 1),
                       RadioNames(config, GetParam(), {"encoder.", "some.prefix."}).value());
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, RadioNamesTest,
                         testing::Values(NameScheme::kMegatron, NameScheme::kHuggingFace));

TEST(RadioNamesMegatronTest, LayersAreStacked) {
  const auto shapes = KeyShapes(
      RadioNames(ConfigOf(32, 16, 80), NameScheme::kMegatron, {"encoder.", "r."}).value());
  const std::string layers = "r.decoder.layers.";
  EXPECT_THAT(
      shapes,
      UnorderedElementsAre(
          Pair("r.class_token", ElementsAre(10, 1280)),
          Pair("r.position_embeddings", ElementsAre(1, 16, 1280)),
          Pair("r.embedder.weight", ElementsAre(1280, 768)),
          Pair(layers + "self_attention.linear_qkv.weight", ElementsAre(32, 3840, 1280)),
          Pair(layers + "self_attention.linear_qkv.bias", ElementsAre(32, 3840)),
          Pair(layers + "self_attention.linear_qkv.layer_norm_weight", ElementsAre(32, 1280)),
          Pair(layers + "self_attention.linear_qkv.layer_norm_bias", ElementsAre(32, 1280)),
          Pair(layers + "self_attention.linear_proj.weight", ElementsAre(32, 1280, 1280)),
          Pair(layers + "self_attention.linear_proj.bias", ElementsAre(32, 1280)),
          Pair(layers + "mlp.linear_fc1.layer_norm_weight", ElementsAre(32, 1280)),
          Pair(layers + "mlp.linear_fc1.layer_norm_bias", ElementsAre(32, 1280)),
          Pair(layers + "mlp.linear_fc1.weight", ElementsAre(32, 5120, 1280)),
          Pair(layers + "mlp.linear_fc1.bias", ElementsAre(32, 5120)),
          Pair(layers + "mlp.linear_fc2.weight", ElementsAre(32, 1280, 5120)),
          Pair(layers + "mlp.linear_fc2.bias", ElementsAre(32, 1280)),
          Pair("r.decoder.final_layernorm.weight", ElementsAre(1280)),
          Pair("r.decoder.final_layernorm.bias", ElementsAre(1280))));
}

TEST(RadioNamesHuggingFaceTest, QueriesKeysAndValuesOfAllHeadsFollowEachOther) {
  const auto maps =
      RadioNames(ConfigOf(1, 16, 80), NameScheme::kHuggingFace, {"", "radio_model.model."}).value();
  const struct {
    int64_t published, own;
  } rows[] = {{0, 0}, {80, 240}, {1280, 80}, {2560, 160}, {3839, 3839}};
  for (const char* leaf : {"weight", "bias"}) {
    for (const auto& row : rows) {
      EXPECT_EQ(
          FindRow(maps, std::string("decoder.layers.0.self_attention.linear_qkv.") + leaf, row.own),
          (KeyRow{std::string("radio_model.model.blocks.0.attn.qkv.") + leaf, row.published}));
    }
  }
}

TEST(RadioNamesMegatronTest, GatesComeBeforeWhatTheyGate) {
  const auto shapes = KeyShapes(
      RadioNames(ScaledAndGated(ConfigOf(2, 2, 4)), NameScheme::kMegatron, {"", "r."}).value());
  const std::string layers = "r.decoder.layers.";
  EXPECT_THAT(shapes, AllOf(Contains(Pair(layers + "mlp.linear_fc1.weight", ElementsAre(2, 64, 8))),
                            Contains(Pair(layers + "ls1", ElementsAre(2, 8))),
                            Contains(Pair(layers + "ls2", ElementsAre(2, 8)))));
}

TEST(RadioNamesHuggingFaceTest, ScaledAndGatedLayersHaveNamesOfTheirOwn) {
  RadioConfig config = ScaledAndGated(ConfigOf(1, 2, 4));
  config.final_norm = false;
  std::vector<std::string> keys;
  for (const auto& [key, shape] :
       KeyShapes(RadioNames(config, NameScheme::kHuggingFace, {"", ""}).value())) {
    if (key.starts_with("blocks.0.")) keys.push_back(key.substr(9));
  }
  EXPECT_THAT(keys, UnorderedElementsAre(
                        "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.proj.weight",
                        "attn.proj.bias", "layer_scale1.lambda1", "norm2.weight", "norm2.bias",
                        "mlp.gate_proj.weight", "mlp.gate_proj.bias", "mlp.up_proj.weight",
                        "mlp.up_proj.bias", "mlp.down_proj.weight", "mlp.down_proj.bias",
                        "layer_scale2.lambda1"));
}

TEST(RadioNamesHuggingFaceTest, KeysAreThoseOfPublishedEncoders) {
  RadioConfig config = ConfigOf(1, 2, 4);
  config.final_norm = false;
  std::vector<std::string> keys;
  for (const auto& [key, shape] : KeyShapes(
           RadioNames(config, NameScheme::kHuggingFace, {"", "radio_model.model."}).value())) {
    keys.push_back(key.substr(std::string("radio_model.model.").size()));
  }
  EXPECT_THAT(keys,
              UnorderedElementsAre(
                  "patch_generator.cls_token.token", "patch_generator.pos_embed",
                  "patch_generator.embedder.weight", "blocks.0.norm1.weight", "blocks.0.norm1.bias",
                  "blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias", "blocks.0.attn.proj.weight",
                  "blocks.0.attn.proj.bias", "blocks.0.norm2.weight", "blocks.0.norm2.bias",
                  "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc2.weight",
                  "blocks.0.mlp.fc2.bias"));
}

}  // namespace
}  // namespace hetero
