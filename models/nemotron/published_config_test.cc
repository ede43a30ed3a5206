#include "hetero/models/nemotron/published_config.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The fields of the published 30B model that say anything of its numbers.
constexpr char kPublished[] = R"({
  "architectures": ["NemotronHForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
  "chunk_size": 128, "conv_kernel": 4, "expand": 2, "head_dim": 128, "hidden_dropout": 0.0,
  "hidden_size": 2688, "hybrid_override_pattern": "MEM*E-", "initializer_range": 0.02,
  "intermediate_size": 1856, "layer_norm_epsilon": 1e-05, "mamba_head_dim": 64,
  "mamba_hidden_act": "silu", "mamba_num_heads": 64, "mamba_proj_bias": false,
  "max_position_embeddings": 262144, "mlp_bias": false, "mlp_hidden_act": "relu2",
  "model_type": "nemotron_h", "moe_intermediate_size": 1856,
  "moe_shared_expert_intermediate_size": 3712, "n_group": 1, "n_groups": 8,
  "n_routed_experts": 128, "n_shared_experts": 1, "norm_eps": 1e-05, "norm_topk_prob": true,
  "num_attention_heads": 32, "num_experts_per_tok": 6, "num_hidden_layers": 6,
  "num_key_value_heads": 2, "num_logits_to_keep": 1, "partial_rotary_factor": 1.0,
  "rescale_prenorm_residual": true, "residual_in_fp32": false, "rope_theta": 10000,
  "routed_scaling_factor": 2.5, "sliding_window": null, "ssm_state_size": 128,
  "tie_word_embeddings": false, "time_step_floor": 0.0001, "time_step_limit": [0.0, Infinity],
  "time_step_max": 0.1, "time_step_min": 0.001, "topk_group": 1, "torch_dtype": "bfloat16",
  "transformers_version": "4.55.4", "use_bias": false, "use_cache": true, "use_conv_bias": true,
  "use_mamba_kernels": true, "vocab_size": 131072})";

struct Result {
  proto::HybridLanguageModel model;
  std::vector<std::string> violations;
};
Result Read(std::string_view text) {
  const auto json = ParseConfigJson(text);
  EXPECT_THAT(json, ::absl_testing::IsOk());
  Violations violations;
  ConfigFields fields(*json, "", violations);
  Result result{ReadNemotronH(fields)};
  for (const Violation& violation : violations.list()) {
    result.violations.push_back(violation.ToString());
  }
  return result;
}
// With `field` in the place of what the published file says of it.
Result ReadWith(std::string_view name, std::string_view value) {
  std::string text = kPublished;
  return Read(absl::StrReplaceAll(
      text, {{absl::StrCat("\"", name, "\": "),
              absl::StrCat("\"was\": 0, \"", name, "\": ", value, ", \"was2\": ")}}));
}

TEST(PublishedConfigTest, AllOfThePublishedModelIsRead) {
  const auto [model, violations] = Read(kPublished);
  EXPECT_THAT(violations, IsEmpty());
  EXPECT_EQ(model.pattern(), "MEM*E-");
  EXPECT_EQ(model.hidden_size(), 2688);
  EXPECT_EQ(model.vocabulary_size(), 131072);
  EXPECT_EQ(model.attention().num_heads(), 32);
  EXPECT_EQ(model.attention().num_kv_groups(), 2);
  EXPECT_EQ(model.attention().head_dim(), 128);
  EXPECT_EQ(model.mamba().num_heads(), 64);
  EXPECT_EQ(model.mamba().head_dim(), 64);
  EXPECT_EQ(model.mamba().num_groups(), 8);
  EXPECT_EQ(model.mamba().state_size(), 128);
  EXPECT_EQ(model.experts().num_experts(), 128);
  EXPECT_EQ(model.experts().top_k(), 6);
  EXPECT_EQ(model.experts().ffn_size(), 1856);
  EXPECT_EQ(model.experts().shared_ffn_size(), 3712);
  EXPECT_EQ(model.experts().router_scaling(), 2.5);
  EXPECT_EQ(model.mlp().ffn_size(), 1856);
  EXPECT_FALSE(model.tie_embeddings() || model.attention().use_bias() || model.mlp().use_bias());
  EXPECT_TRUE(model.mamba().conv_bias() && !model.mamba().use_bias());
  EXPECT_FALSE(model.mamba().has_min_time_step() || model.mamba().has_max_time_step());
  EXPECT_FALSE(model.experts().has_num_groups() || model.experts().has_top_k_groups());
  EXPECT_TRUE(model.experts().normalize_probabilities());
}

TEST(PublishedConfigTest, WhatModelsDifferInIsRead) {
  const std::vector<std::pair<std::string_view, std::string_view>> changes = {
      {"\"attention_bias\": false", "\"attention_bias\": true"},
      {"\"conv_kernel\": 4", "\"conv_kernel\": 2"},
      {"\"n_group\": 1", "\"n_group\": 8"},
      {"\"topk_group\": 1", "\"topk_group\": 4"},
      {"\"n_shared_experts\": 1", "\"n_shared_experts\": 0"},
      {"\"norm_topk_prob\": true", "\"norm_topk_prob\": false"},
      {"\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"},
      {"[0.0, Infinity]", "[0.001, 0.1]"},
      {"\"use_bias\": false", "\"use_bias\": true"},
      {"\"use_conv_bias\": true", "\"use_conv_bias\": false"}};
  const auto [model, violations] = Read(absl::StrReplaceAll(kPublished, changes));
  EXPECT_THAT(violations, IsEmpty());
  EXPECT_TRUE(model.tie_embeddings() && model.attention().use_bias() && model.mamba().use_bias());
  EXPECT_FALSE(model.mamba().conv_bias());
  EXPECT_EQ(model.mamba().conv_kernel(), 2);
  EXPECT_EQ(model.mamba().min_time_step(), 0.001);
  EXPECT_EQ(model.mamba().max_time_step(), 0.1);
  EXPECT_EQ(model.experts().num_groups(), 8);
  EXPECT_EQ(model.experts().top_k_groups(), 4);
  EXPECT_EQ(model.experts().shared_ffn_size(), 0);
  EXPECT_FALSE(model.experts().normalize_probabilities());
}

// What says something of kinds of layers that the model does not have changes nothing.
TEST(PublishedConfigTest, DenseNetworksMayHaveBiases) {
  const auto [model, violations] = Read(absl::StrReplaceAll(
      kPublished, {{"MEM*E-", "-----*"}, {"\"mlp_bias\": false", "\"mlp_bias\": true"}}));
  EXPECT_THAT(violations, IsEmpty());
  EXPECT_TRUE(model.mlp().use_bias());
  EXPECT_FALSE(model.has_experts() || model.has_mamba());
}

TEST(PublishedConfigTest, WhatIsNotSupportedIsRefusedByItsName) {
  for (const auto& [name, value] :
       std::vector<std::pair<std::string, std::string>>{{"mlp_hidden_act", "\"silu\""},
                                                        {"residual_in_fp32", "true"},
                                                        {"attention_dropout", "0.1"},
                                                        {"sliding_window", "4096"},
                                                        {"mlp_bias", "true"},
                                                        {"mamba_proj_bias", "true"},
                                                        {"time_step_limit", "[0.1]"},
                                                        {"topk_group", "2"},
                                                        {"num_hidden_layers", "7"},
                                                        {"model_type", "\"mamba2\""},
                                                        {"hidden_size", "\"large\""}}) {
    const Result result = ReadWith(name, value);
    // "was" and "was2" are not known either.
    ASSERT_THAT(result.violations, testing::Not(IsEmpty())) << name;
    EXPECT_THAT(result.violations[0], testing::StartsWith(name + " "));
  }
  for (const std::string field :
       {"\"moe_latent_size\": 1024", "\"num_nextn_predict_layers\": 1",
        "\"scoring_func\": \"softmax\"", "\"quantization_config\": {\"bits\": 8}",
        "\"moe_router_score_function\": \"softmax\"", "\"a_new_field\": true"}) {
    const Result result =
        Read(absl::StrReplaceAll(kPublished, {{"{\n", absl::StrCat("{", field, ",\n")}}));
    const std::string name = field.substr(1, field.find('"', 1) - 1);
    EXPECT_THAT(result.violations, ElementsAre(testing::StartsWith(name + " is "))) << field;
  }
}

TEST(PublishedConfigTest, LayersMayBeAList) {
  const Result result = Read(absl::StrReplaceAll(
      kPublished,
      {{"\"hybrid_override_pattern\": \"MEM*E-\"",
        "\"layers_block_type\": [\"linear_attention\", \"moe\", \"mamba\", \"full_attention\", "
        "\"moe\", \"mlp\"]"}}));
  EXPECT_THAT(result.violations, IsEmpty());
  EXPECT_EQ(result.model.pattern(), "MEM*E-");
}

}  // namespace
}  // namespace hetero
