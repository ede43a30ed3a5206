// The tensors of a model with encoders, in checkpoints of others.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/testing/name_map_check.h"
#include "hetero/models/vlm/multimodal_model.h"

namespace hetero {
namespace {

// Nemotron-3-Nano-Omni without what is not ours of it: its audio encoder with the projector behind
// that, and the embedder of two frames of a video at once.
MultimodalConfig NanoOmni() {
  MultimodalConfig config{
      .vision = VisionConfig{.encoder = {.num_layers = 32,
                                         .layer = {.hidden_size = 1280,
                                                   .num_heads = 16,
                                                   .head_dim = 80,
                                                   .ffn_size = 5120},
                                         .patch_size = 16,
                                         .max_image_side = 2048,
                                         .num_class_tokens = 10,
                                         .final_norm = false},
                             .projector = {.kind = ProjectorConfig::Kind::kMlp,
                                           .rms_norm = true,
                                           .input_size = 5120,
                                           .ffn_size = 20480,
                                           .output_size = 2688}},
      .hearing = std::nullopt,
      .language = {
          .pattern =
              LayerPattern::Parse("MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME").value(),
          .hidden_size = 2688,
          .vocabulary_size = 131072,
          .attention = {.num_heads = 32, .num_kv_groups = 2, .head_dim = 128},
          .mamba = {.num_heads = 64,
                    .head_dim = 64,
                    .num_groups = 8,
                    .state_size = 128,
                    .chunk_size = 128},
          .experts = {.num_experts = 128, .top_k = 6, .ffn_size = 1856, .shared_ffn_size = 3712}}};
  config.language.attention.hidden_size = config.language.mamba.hidden_size =
      config.language.experts.hidden_size = config.language.hidden_size;
  return config;
}

struct Total {
  int64_t tensors = 0;
  int64_t elements = 0;
};
Total TotalOf(const std::vector<BoxMap>& maps) {
  Total total;
  for (const auto& [key, shape] : KeyShapes(maps)) {
    ++total.tensors;
    total.elements +=
        std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
  }
  return total;
}

TEST(MultimodalNamesTest, NanoOmnisVisionAndLanguageHaveThePublishedTensors) {
  const std::unique_ptr<Model> model = MakeMultimodalModel(NanoOmni());
  const Total vision =
      TotalOf(model->NamesIn(NameScheme::kHuggingFace, kRadioEncoderModule).value());
  EXPECT_EQ(vision.tensors, 3 + 32 * 12 + 3);
  EXPECT_EQ(vision.elements, 651'645'440 + 159'912'960);
  const Total language = TotalOf(model->NamesIn(NameScheme::kHuggingFace, kLanguageModule).value());
  // The rest of 33,015,546,816 parameters: 1,966,080 of the video's embedder and 624,084,992 of the
  // audio encoder and its projector. Of 7,349 tensors the rest are 1, 711, and 4 constants of how
  // pixels and sounds are prepared. Expert biases are tensors but no parameters.
  EXPECT_EQ(vision.elements + language.elements - 23 * 128,
            33'015'546'816 - 1'966'080 - 624'084'992);
  EXPECT_EQ(vision.tensors + language.tensors, 7'349 - 1 - 711 - 4);
  EXPECT_EQ(language.tensors, 6243);
  EXPECT_EQ(language.elements, 31'577'937'344 + 23 * 128);
}

TEST(MultimodalNamesTest, KeysBeginAsInCheckpointsOfOthers) {
  const std::unique_ptr<Model> model = MakeMultimodalModel(NanoOmni());
  const auto begin = [&](NameScheme scheme, std::string_view module,
                         std::vector<std::string> prefixes) {
    const std::vector<BoxMap> maps = model->NamesIn(scheme, module).value();
    for (const BoxMap& map : maps) {
      EXPECT_TRUE(std::ranges::any_of(prefixes, [&](const std::string& prefix) {
        return map.key.starts_with(prefix);
      })) << map.key;
    }
  };
  begin(NameScheme::kHuggingFace, kLanguageModule,
        {"language_model.backbone.", "language_model.lm_head."});
  begin(NameScheme::kHuggingFace, kRadioEncoderModule,
        {"vision_model.radio_model.model.blocks.",
         "vision_model.radio_model.model.patch_generator.", "mlp1."});
  begin(NameScheme::kMegatron, kLanguageModule, {"language_model."});
  begin(NameScheme::kMegatron, kRadioEncoderModule,
        {"modality_submodules.radio_encoder.encoders.radio_encoder.radio_model.",
         "modality_submodules.radio_encoder.input_projections.0.encoder."});
  begin(NameScheme::kMegatronLlava, kLanguageModule, {"language_model."});
  begin(NameScheme::kMegatronLlava, kRadioEncoderModule,
        {"vision_model.", "vision_projection.encoder."});
}

}  // namespace
}  // namespace hetero
