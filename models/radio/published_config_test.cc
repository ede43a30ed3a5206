#include "hetero/models/radio/published_config.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/violation.h"
#include "hetero/models/names/config_fields.h"
#include "hetero/models/radio/radio.pb.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// The fields that say anything of an encoder's numbers.
constexpr char kPublished[] = R"({
  "attention_probs_dropout_prob": 0.0, "drop_path_rate": 0.0, "hidden_act": "gelu",
  "hidden_dropout_prob": 0.0, "hidden_size": 1280, "image_size": 224, "initializer_range": 0.02,
  "layer_norm_eps": 1e-06, "layerscale_value": 1.0, "max_img_size": 2048, "mlp_ratio": 4.0,
  "model_type": "radio", "norm_mean": [0.48, 0.46, 0.41], "norm_std": [0.27, 0.26, 0.28],
  "num_attention_heads": 16, "num_channels": 3, "num_cls_tokens": 3, "num_hidden_layers": 32,
  "num_registers": 7, "patch_dim": 768, "patch_size": 16, "qkv_bias": true,
  "summary_idxs": [0, 1], "use_swiglu_ffn": false})";

struct Result {
  proto::RadioEncoder encoder;
  std::vector<std::string> violations;
};
Result Read(std::string_view text) {
  const auto json = ParseConfigJson(text);
  EXPECT_THAT(json, ::absl_testing::IsOk());
  Violations violations;
  ConfigFields fields(*json, "", violations);
  Result result{ReadRadio(fields)};
  for (const Violation& violation : violations.list()) {
    result.violations.push_back(violation.ToString());
  }
  return result;
}

TEST(PublishedRadioConfigTest, AllOfThePublishedEncoderIsRead) {
  const auto [encoder, violations] = Read(kPublished);
  EXPECT_THAT(violations, IsEmpty());
  EXPECT_EQ(encoder.num_layers(), 32);
  EXPECT_EQ(encoder.hidden_size(), 1280);
  EXPECT_EQ(encoder.num_heads(), 16);
  EXPECT_EQ(encoder.head_dim(), 80);
  EXPECT_EQ(encoder.ffn_size(), 5120);
  EXPECT_EQ(encoder.num_class_tokens(), 10);
  EXPECT_EQ(encoder.gelu(), proto::RadioEncoder::ERF);
  EXPECT_FALSE(encoder.swiglu());
  EXPECT_TRUE(encoder.qkv_bias());
  EXPECT_FALSE(encoder.has_layer_scale_init());
}

// The widths of the largest one: its networks are gated and say four times the width.
TEST(PublishedRadioConfigTest, WhatEncodersDifferInIsRead) {
  const std::vector<std::pair<std::string_view, std::string_view>> changes = {
      {"\"hidden_size\": 1280", "\"hidden_size\": 1536"},
      {"\"num_attention_heads\": 16", "\"num_attention_heads\": 24"},
      {"\"layerscale_value\": 1.0", "\"layerscale_value\": 1e-05"},
      {"\"qkv_bias\": true", "\"qkv_bias\": false"},
      {"\"use_swiglu_ffn\": false", "\"use_swiglu_ffn\": true"}};
  const auto [encoder, violations] = Read(absl::StrReplaceAll(kPublished, changes));
  EXPECT_THAT(violations, IsEmpty());
  EXPECT_TRUE(encoder.swiglu());
  EXPECT_FALSE(encoder.has_gelu());
  EXPECT_EQ(encoder.ffn_size(), 4096);
  EXPECT_FALSE(encoder.qkv_bias());
  EXPECT_EQ(encoder.layer_scale_init(), 1e-5);
}

TEST(PublishedRadioConfigTest, AGatedWidthIsAMultipleOfEight) {
  const auto [encoder, violations] = Read(
      absl::StrReplaceAll(kPublished, {{"\"mlp_ratio\": 4.0", "\"mlp_ratio\": 2.67"},
                                       {"\"use_swiglu_ffn\": false", "\"use_swiglu_ffn\": true"}}));
  EXPECT_THAT(violations, IsEmpty());
  // 3417 times two thirds is 2278.
  EXPECT_EQ(encoder.ffn_size(), 2280);
}

TEST(PublishedRadioConfigTest, WhatIsNotSupportedIsRefusedByItsName) {
  for (const auto& [was, is] :
       std::vector<std::pair<std::string, std::string>>{{"\"drop_path_rate\": 0.0", "0.1"},
                                                        {"\"hidden_act\": \"gelu\"", "\"relu\""},
                                                        {"\"layerscale_value\": 1.0", "0"},
                                                        {"\"num_attention_heads\": 16", "7"},
                                                        {"\"num_channels\": 3", "4"}}) {
    const std::string name = was.substr(1, was.find('"', 1) - 1);
    const Result result =
        Read(absl::StrReplaceAll(kPublished, {{was, absl::StrCat("\"", name, "\": ", is)}}));
    EXPECT_THAT(result.violations, ElementsAre(StartsWith(name + " is "))) << name;
  }
}

}  // namespace
}  // namespace hetero
