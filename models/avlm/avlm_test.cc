#include "hetero/models/avlm/avlm.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kImage = R"(
  image {
    encoder {
      num_layers: 2 hidden_size: 8 num_heads: 2 head_dim: 4 ffn_size: 12 patch_size: 2
      max_image_side: 8 num_class_tokens: 2 norm_epsilon: 1e-6 final_norm: true init_std: 0.1
      output_init_std: 0.1 embedder_init_std: 0.1 class_token_init_std: 1 position_init_std: 0.1
    }
    projector { kind: AFFINE norm: NONE init_std: 0.1 }
    token_id: 299
  })";
constexpr std::string_view kAudio = R"(
  audio {
    encoder {
      num_layers: 2 hidden_size: 16 num_heads: 2 head_dim: 8 ffn_size: 12 num_mels: 6
      max_frames: 20 norm_epsilon: 1e-5 init_std: 0.1 output_init_std: 0.1
      convolution_init_std: 0.1
    }
    projector { kind: AFFINE norm: NONE init_std: 0.1 }
    token_id: 298
  })";
constexpr std::string_view kLanguage = R"(
  language {
    pattern: "M" hidden_size: 12 vocabulary_size: 300 norm_epsilon: 1e-5 init_std: 0.1
    output_init_std: 0.1
    mamba { num_heads: 2 head_dim: 4 num_groups: 1 state_size: 4 conv_kernel: 4 chunk_size: 4 }
  })";

proto::AudioVisionLanguageModel Message(std::string_view image, std::string_view audio) {
  proto::AudioVisionLanguageModel config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(absl::StrCat(image, audio, kLanguage),
                                                            &config));
  return config;
}

TEST(AudioVisionLanguageModelTest, EveryModalityHasAModuleAndAnEdge) {
  const auto model = MakeAudioVisionLanguageModel(Message(kImage, kAudio)).value();
  const ModelGraph& graph = model->graph();
  EXPECT_THAT(graph.ModuleNames(), ElementsAre("radio_encoder", "audio_encoder", "language"));
  EXPECT_EQ(graph.SampleOwner().name, "language");
  EXPECT_THAT(graph.SampleOwner().modalities, IsEmpty());
  ASSERT_EQ(graph.modalities.size(), 2u);
  EXPECT_EQ(graph.modalities[0].placeholder_id, 299);
  EXPECT_EQ(std::get<ImageForm>(graph.modalities[0].form).max_image_side, 8);
  EXPECT_EQ(graph.modalities[1].placeholder_id, 298);
  EXPECT_EQ(std::get<AudioForm>(graph.modalities[1].form).num_mels, 6);
  EXPECT_EQ(std::get<AudioForm>(graph.modalities[1].form).max_frames, 20);
  EXPECT_THAT(graph.Module("radio_encoder").modalities, ElementsAre(0));
  EXPECT_THAT(graph.Module("audio_encoder").modalities, ElementsAre(1));
  ASSERT_EQ(graph.edges.size(), 2u);
  for (int edge : {0, 1}) {
    EXPECT_EQ(graph.edges[edge].source, graph.modules[edge].name);
    EXPECT_EQ(graph.edges[edge].destination, "language");
    EXPECT_EQ(graph.edges[edge].modality, edge);
    EXPECT_EQ(graph.edges[edge].width, 12);
  }
  // An image of 16 patches with 2 class tokens, and a clip of 7 frames.
  const SampleFacts sample = {
      .row_length = 20,
      .modalities = {{.num_tokens = 4, .sizes = {{8, 8}}}, {.num_tokens = 4, .sizes = {{7, 1}}}}};
  EXPECT_EQ(model->RowsOnEdge(0, sample), 4);
  EXPECT_EQ(model->RowsOnEdge(1, sample), 4);
  EXPECT_EQ(model->RowsBetweenStages("radio_encoder", sample), 18);
  EXPECT_EQ(model->RowsBetweenStages("audio_encoder", sample), 4);
  EXPECT_EQ(model->RowsBetweenStages("language", sample), 20);
  EXPECT_EQ(model->MakeTable("audio_encoder", {})->Find("projector.encoder.weight").value()->shape,
            (std::vector<int64_t>{12, 16}));
}

TEST(AudioVisionLanguageModelTest, AnEncoderThatIsNotConfiguredIsNoModule) {
  const auto names = [](std::string_view image, std::string_view audio) {
    const auto model = MakeAudioVisionLanguageModel(Message(image, audio)).value();
    const ModelGraph& graph = model->graph();
    EXPECT_EQ(graph.edges.size(), graph.modalities.size());
    for (const GraphModule& module : graph.modules) {
      for (const int modality : module.modalities) EXPECT_EQ(modality, 0) << module.name;
    }
    return graph.ModuleNames();
  };
  EXPECT_THAT(names(kImage, ""), ElementsAre("radio_encoder", "language"));
  EXPECT_THAT(names("", kAudio), ElementsAre("audio_encoder", "language"));
  EXPECT_THAT(names("", ""), ElementsAre("language"));
}

TEST(AudioVisionLanguageModelTest, FreezingReachesTheTables) {
  proto::AudioVisionLanguageModel config = Message(kImage, kAudio);
  config.mutable_image()->set_freeze_projector(true);
  config.mutable_audio()->set_freeze_encoder(true);
  config.set_freeze_language(true);
  const auto model = MakeAudioVisionLanguageModel(config).value();
  const auto trains = [&](const char* module, std::string_view prefix) {
    const ParameterTable table = model->MakeTable(module, {}).value();
    for (const ParameterSpec& spec : table.specs()) {
      EXPECT_EQ(spec.trainable, !prefix.empty() && spec.name.starts_with(prefix)) << spec.name;
    }
  };
  trains("radio_encoder", "encoder.");
  trains("audio_encoder", "projector.");
  trains("language", "");
}

TEST(AudioVisionLanguageModelTest, NamesWhatDoesNotFit) {
  const auto error = [](auto change, auto matcher) {
    proto::AudioVisionLanguageModel config = Message(kImage, kAudio);
    change(config);
    EXPECT_THAT(MakeAudioVisionLanguageModel(config),
                StatusIs(absl::StatusCode::kInvalidArgument, matcher));
  };
  error([](auto& config) { config.mutable_audio()->set_token_id(300); },
        HasSubstr("audio.token_id is 300, must be below language.vocabulary_size 300; nearest: "
                  "audio.token_id 299 or language.vocabulary_size 301"));
  error([](auto& config) { config.mutable_audio()->set_token_id(299); },
        HasSubstr("audio.token_id is 299, which is also image.token_id; nearest: 298"));
  error([](auto& config) { config.mutable_audio()->mutable_encoder()->set_hidden_size(7); },
        HasSubstr("audio.encoder.hidden_size is 7, must be even"));
  error([](auto& config) { config.mutable_image()->mutable_encoder()->set_max_image_side(7); },
        HasSubstr("image.encoder.max_image_side is 7"));
  error([](auto& config) { config.mutable_audio()->mutable_projector()->clear_kind(); },
        HasSubstr("audio.projector.kind"));
  error([](auto& config) { config.clear_language(); }, HasSubstr("language is not set"));
}

}  // namespace
}  // namespace hetero
