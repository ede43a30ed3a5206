// What a language model's message may say.

#include "hetero/models/nemotron/hybrid_model.h"

#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/base/violation.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid.pb.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kModel = R"(
  pattern: "ME*-" hidden_size: 8 vocabulary_size: 32 norm_epsilon: 1e-5 init_std: 0.1
  output_init_std: 0.1
  attention { num_heads: 2 head_dim: 4 num_kv_groups: 1 }
  mamba { num_heads: 2 head_dim: 4 num_groups: 1 state_size: 4 conv_kernel: 4 chunk_size: 4 }
  experts { num_experts: 8 top_k: 3 ffn_size: 8 shared_ffn_size: 8 router_scaling: 1
            aux_loss_coefficient: 0.01 expert_bias_rate: 0.001 }
  mlp { ffn_size: 8 }
)";

// `changes` go over what the model says.
proto::HybridLanguageModel Message(std::string_view changes) {
  proto::HybridLanguageModel message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(std::string(kModel), &message));
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(std::string(changes), &message));
  return message;
}

std::vector<std::string> ViolationsOf(std::string_view changes) {
  Violations violations;
  CheckRelations(Message(changes), "model", violations);
  std::vector<std::string> texts;
  for (const Violation& violation : violations.list()) texts.push_back(violation.ToString());
  return texts;
}

TEST(HybridModelTest, ExpertsDivideIntoGroupsThatHaveAsManyAsATokenTakes) {
  EXPECT_THAT(ViolationsOf(""), IsEmpty());
  EXPECT_THAT(ViolationsOf("experts { num_groups: 4 top_k_groups: 2 }"), IsEmpty());
  EXPECT_THAT(ViolationsOf("experts { num_groups: 3 }"),
              ElementsAre("model.experts.num_experts is 8, must be a multiple of "
                          "model.experts.num_groups 3; nearest: model.experts.num_experts 6 or "
                          "model.experts.num_experts 9 or model.experts.num_groups 2"));
  EXPECT_THAT(ViolationsOf("experts { num_groups: 8 }"),
              ElementsAre("model.experts.num_groups is 8 for model.experts.num_experts 8, a group "
                          "must have two experts at least; nearest: 4"));
  EXPECT_THAT(ViolationsOf("experts { top_k_groups: 2 }"),
              ElementsAre("model.experts.top_k_groups is 2, must be at most "
                          "model.experts.num_groups 1; nearest: model.experts.top_k_groups 1 or "
                          "model.experts.num_groups 2"));
  EXPECT_THAT(ViolationsOf("experts { num_groups: 4 top_k_groups: 1 }"),
              ElementsAre("model.experts.top_k is 3, must be at most 2, the experts of "
                          "model.experts.top_k_groups 1; nearest: model.experts.top_k 2 or "
                          "model.experts.top_k_groups 2"));
}

TEST(HybridModelTest, LimitsOfTimeStepsAscend) {
  EXPECT_THAT(ViolationsOf("mamba { min_time_step: 0.5 }"), IsEmpty());
  EXPECT_THAT(ViolationsOf("mamba { min_time_step: 0.5 max_time_step: 0.25 }"),
              ElementsAre("model.mamba.min_time_step is 0.5, must be at most "
                          "model.mamba.max_time_step 0.25; nearest: "
                          "model.mamba.min_time_step 0.25 or model.mamba.max_time_step 0.5"));
}

TEST(HybridModelTest, WhatIsNotSetIsAsItWas) {
  const HybridConfig config = HybridConfigFromProto(Message(""), DType::kF32);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_FALSE(config.logits_chunk_rows.has_value());
  EXPECT_FALSE(config.attention.use_bias || config.mlp.use_bias || config.mamba.use_bias);
  EXPECT_TRUE(config.mamba.conv_bias);
  EXPECT_FALSE(config.mamba.steps.limit());
  EXPECT_FALSE(config.experts.groups.limit());
  EXPECT_FALSE(config.experts.normalize_probabilities.has_value());
}

TEST(HybridModelTest, EveryOptionReachesItsBlock) {
  const HybridConfig config = HybridConfigFromProto(Message(R"(
      tie_embeddings: true
      logits_chunk_rows: 24
      attention { use_bias: true }
      mlp { use_bias: true }
      mamba { conv_bias: false use_bias: true min_time_step: 0.25 max_time_step: 4 }
      experts { num_groups: 4 top_k_groups: 2 normalize_probabilities: false shared_ffn_size: 0 }
  )"),
                                                    DType::kF32);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_EQ(config.logits_chunk_rows, 24);
  EXPECT_TRUE(config.attention.use_bias && config.mlp.use_bias && config.mamba.use_bias);
  EXPECT_FALSE(config.mamba.conv_bias);
  EXPECT_EQ(config.mamba.steps.min, 0.25);
  EXPECT_EQ(config.mamba.steps.max, 4);
  EXPECT_EQ(config.experts.groups.count, 4);
  EXPECT_EQ(config.experts.groups.chosen, 2);
  EXPECT_EQ(config.experts.normalize_probabilities, false);
  EXPECT_EQ(config.experts.shared_ffn_size, 0);
}

}  // namespace
}  // namespace hetero
