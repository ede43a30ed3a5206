#include "hetero/models/vlm/vlm.h"

#include <cstdint>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/models/stage.h"
#include "hetero/models/vlm/vlm.pb.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

proto::VisionLanguageModel SmallMessage() {
  proto::VisionLanguageModel config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(encoder {
           num_layers: 2 hidden_size: 8 num_heads: 2 head_dim: 4 ffn_size: 12 patch_size: 2
           max_image_side: 8 num_class_tokens: 2 norm_epsilon: 1e-6 final_norm: true init_std: 0.1
           output_init_std: 0.1 embedder_init_std: 0.1 class_token_init_std: 1
           position_init_std: 0.1
         }
         projector { kind: AFFINE norm: NONE init_std: 0.1 }
         language {
           pattern: "M" hidden_size: 12 vocabulary_size: 300 norm_epsilon: 1e-5 init_std: 0.1
           output_init_std: 0.1
           mamba {
             num_heads: 2 head_dim: 4 num_groups: 1 state_size: 4 conv_kernel: 4 chunk_size: 4
           }
         }
         image_token_id: 299)",
      &config));
  return config;
}

TEST(VisionLanguageModelTest, DescribesItsPartsAndWhatTheyRead) {
  const auto model = MakeVisionLanguageModel(SmallMessage()).value();
  EXPECT_THAT(model->graph().ModuleNames(), testing::ElementsAre("radio_encoder", "language"));
  EXPECT_EQ(model->graph().SampleOwner().name, "language");
  ASSERT_EQ(model->graph().edges.size(), 1u);
  EXPECT_EQ(model->graph().edges[0].source, "radio_encoder");
  EXPECT_EQ(model->graph().edges[0].destination, "language");
  EXPECT_EQ(model->graph().edges[0].width, 12);
  EXPECT_EQ(model->graph().Module("radio_encoder").hidden_width, 8);
  EXPECT_EQ(model->graph().Module("language").hidden_width, 12);
  // Images of 4 and 16 patches with 2 class tokens each, in a row of 20 tokens.
  const SampleFacts sample = {.row_length = 20,
                              .modalities = {{.num_tokens = 5, .sizes = {{4, 4}, {8, 8}}}}};
  EXPECT_EQ(model->RowsOnEdge(0, sample), 5);
  EXPECT_EQ(model->RowsBetweenStages("radio_encoder", sample), 24);
  EXPECT_EQ(model->RowsBetweenStages("language", sample), 20);
  const ModelGraph& graph = model->graph();
  EXPECT_EQ(graph.vocabulary_size, 300);
  EXPECT_THAT(graph.modalities, SizeIs(1));
  EXPECT_EQ(graph.modalities[0].placeholder_id, 299);
  const auto& form = std::get<ImageForm>(graph.modalities[0].form);
  EXPECT_EQ(form.patch_size, 2);
  EXPECT_EQ(form.max_image_side, 8);
  EXPECT_EQ(form.patches_per_token, 4);
  EXPECT_EQ(model->MakeTable("radio_encoder", {})->Find("projector.encoder.weight").value()->shape,
            (std::vector<int64_t>{12, 32}));
}

TEST(VisionLanguageModelTest, FreezingReachesTheTables) {
  proto::VisionLanguageModel config = SmallMessage();
  config.set_freeze_encoder(true);
  config.set_freeze_language(true);
  const auto model = MakeVisionLanguageModel(config).value();
  for (const char* module : {"radio_encoder", "language"}) {
    const ParameterTable table = model->MakeTable(module, {}).value();
    for (const ParameterSpec& spec : table.specs()) {
      EXPECT_EQ(spec.trainable, spec.name.starts_with("projector.")) << spec.name;
    }
  }
}

TEST(VisionLanguageModelTest, NamesSizesThatDoNotFit) {
  const auto error = [](auto change, auto matcher) {
    proto::VisionLanguageModel config = SmallMessage();
    change(config);
    EXPECT_THAT(MakeVisionLanguageModel(config),
                StatusIs(absl::StatusCode::kInvalidArgument, matcher));
  };
  error([](auto& config) { config.set_image_token_id(300); },
        HasSubstr("image_token_id is 300, must be below language.vocabulary_size 300; nearest: "
                  "image_token_id 299 or language.vocabulary_size 301"));
  error([](auto& config) { config.mutable_language()->clear_mamba(); },
        AllOf(HasSubstr("language.mamba is not set"), HasSubstr("'M' layers")));
  error([](auto& config) { config.mutable_projector()->set_kind(proto::Projector::MLP); },
        HasSubstr("projector.ffn_size is not set, an MLP projector needs it"));
  error(
      [](auto& config) {
        config.mutable_projector()->set_kind(proto::Projector::MLP);
        config.mutable_projector()->set_ffn_size(8);
      },
      HasSubstr("projector.output_init_std is not set"));
  error(
      [](auto& config) {
        config.mutable_projector()->set_kind(proto::Projector::MLP);
        config.mutable_projector()->set_norm(proto::Projector::RMS);
        config.mutable_projector()->set_ffn_size(8);
        config.mutable_projector()->set_output_init_std(0.1);
      },
      HasSubstr("projector.norm_epsilon is not set"));
  error([](auto& config) { config.mutable_projector()->set_norm(proto::Projector::RMS); },
        HasSubstr("projector.norm is RMS, an AFFINE projector has no norm; nearest: projector.norm "
                  "NONE or projector.kind MLP"));
  error([](auto& config) { config.mutable_language()->set_pattern("MQ"); },
        HasSubstr("position 1: unknown symbol 'Q'"));
  error(
      [](auto& config) {
        config.mutable_encoder()->set_swiglu(true);
        config.mutable_encoder()->set_gelu(proto::RadioEncoder::ERF);
      },
      HasSubstr("encoder.gelu is set with encoder.swiglu true, a gated network has no gelu; "
                "nearest: encoder.swiglu false"));
  // All of them at once, by path.
  error(
      [](auto& config) {
        config.mutable_encoder()->set_max_image_side(30);
        config.mutable_encoder()->set_patch_size(4);
        config.mutable_language()->mutable_mamba()->set_num_heads(7);
        config.mutable_language()->mutable_mamba()->set_num_groups(2);
        config.mutable_language()->mutable_mamba()->set_conv_kernel(5);
      },
      AllOf(HasSubstr("encoder.max_image_side is 30, must be a multiple of encoder.patch_size 4; "
                      "nearest: encoder.max_image_side 28 or encoder.max_image_side 32 or "
                      "encoder.patch_size 3"),
            HasSubstr("language.mamba.num_heads is 7, must be a multiple of "
                      "language.mamba.num_groups 2; nearest: language.mamba.num_heads 6 or "
                      "language.mamba.num_heads 8 or language.mamba.num_groups 1"),
            HasSubstr("language.mamba.conv_kernel is 5, must be at most 4; nearest: 4")));
  error([](auto& config) { config.mutable_encoder()->set_patch_size(8); },
        HasSubstr("encoder.max_image_side is 8, must hold the 2 x 2 patches of a token"));
}

}  // namespace
}  // namespace hetero
