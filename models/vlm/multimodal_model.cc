#include "hetero/models/vlm/multimodal_model.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/models/audio/audio_flops.h"
#include "hetero/models/blocks/projector/encoder_stage.h"
#include "hetero/models/blocks/projector/projector_names.h"
#include "hetero/models/nemotron/hybrid_flops.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/nemotron/hybrid_names.h"
#include "hetero/models/radio/radio_flops.h"
#include "hetero/models/radio/radio_names.h"
#include "hetero/params/counts.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

using VisionModule = ProjectedEncoder<RadioEncoder>;
using HearingModule = ProjectedEncoder<AudioEncoder>;

ModelGraph MakeGraph(const MultimodalConfig& config) {
  ModelGraph graph{.vocabulary_size = config.language.vocabulary_size};
  const auto add = [&](std::string_view module, int64_t hidden_width, Modality modality) {
    const int index = static_cast<int>(graph.modalities.size());
    graph.modalities.push_back(std::move(modality));
    graph.modules.push_back({.name = std::string(module),
                             .modalities = {index},
                             .storage = config.language.storage,
                             .hidden_width = hidden_width});
    graph.edges.push_back({.source = std::string(module),
                           .destination = std::string(kLanguageModule),
                           .width = config.language.hidden_size,
                           .modality = index});
  };
  if (config.vision.has_value()) {
    const RadioConfig& encoder = config.vision->encoder;
    add(kRadioEncoderModule, encoder.layer.hidden_size,
        {.name = "image",
         .placeholder_id = config.image_token_id,
         .form = ImageForm{.patch_size = encoder.patch_size,
                           .max_image_side = encoder.max_image_side,
                           .patches_per_token = 4}});
  }
  if (config.hearing.has_value()) {
    const AudioConfig& encoder = config.hearing->encoder;
    add(kAudioEncoderModule, encoder.layer.hidden_size,
        {.name = "audio",
         .placeholder_id = config.audio_token_id,
         .form = AudioForm{.num_mels = encoder.num_mels, .max_frames = encoder.max_frames}});
  }
  graph.modules.push_back(LanguageModule(config.language));
  graph.metrics = LanguageMetrics(config.language, /*has_captions=*/!graph.modalities.empty());
  graph.num_totals = config.language.num_totals();
  return graph;
}

template <typename Encoder>
Flops ProjectorFlops(const Encoder& config, int64_t rows) {
  const double row = ProductFlops(Projector::Parameters(config.projector, "", 0));
  return OfParameterProducts(
      static_cast<double>(rows) * row,
      {.inputs = config.train_encoder, .parameters = config.train_projector});
}

std::string MegatronSubmodule(std::string_view module) {
  return absl::StrCat("modality_submodules.", module, ".");
}

absl::StatusOr<std::vector<BoxMap>> VisionNames(const VisionConfig& config, NameScheme scheme,
                                                std::string_view prefix, std::string_view encoder,
                                                std::string_view projector) {
  HETERO_ASSIGN_OR_RETURN(
      std::vector<BoxMap> maps,
      RadioNames(config.encoder, scheme,
                 {.name = VisionModule::kEncoder,
                  .key = absl::StrCat(prefix, encoder),
                  .final_norm_key = "vision_projector.vision_final_layernorm."}));
  HETERO_ASSIGN_OR_RETURN(const std::vector<BoxMap> of_projector,
                          ProjectorNames(config.projector, scheme, VisionModule::kProjector,
                                         absl::StrCat(prefix, projector)));
  maps.insert(maps.end(), of_projector.begin(), of_projector.end());
  return maps;
}

// No published model has this encoder: its parameters keep their names.
absl::StatusOr<std::vector<BoxMap>> HearingNames(const HearingConfig& config,
                                                 std::string_view prefix) {
  std::vector<BoxMap> maps;
  for (const ParameterSpec& spec : HearingModule::Parameters(config, 1)) {
    std::string_view rest = spec.name;
    const bool of_encoder = absl::ConsumePrefix(&rest, HearingModule::kEncoder);
    absl::ConsumePrefix(&rest, HearingModule::kProjector);
    maps.push_back(WholeTensor(
        spec, absl::StrCat(prefix, of_encoder ? "encoders.audio_encoder." : "input_projections.0.",
                           rest)));
  }
  return maps;
}

class MultimodalModel : public Model {
 public:
  explicit MultimodalModel(MultimodalConfig config)
      : config_(std::move(config)), graph_(MakeGraph(config_)) {}

  const ModelGraph& graph() const override { return graph_; }
  int64_t RowsOnEdge(int edge, const SampleFacts& sample) const override {
    return sample.modalities[graph_.edges[edge].modality].num_tokens;
  }
  int64_t RowsBetweenStages(std::string_view module, const SampleFacts& sample) const override {
    if (module == kLanguageModule) return sample.row_length;
    const std::vector<MediaSize>& sizes =
        sample.modalities[graph_.Module(module).modalities[0]].sizes;
    if (module == kRadioEncoderModule) return config_.vision->encoder.NumTokens(sizes);
    int64_t rows = 0;
    for (const MediaSize& clip : sizes) rows += AudioRows(clip.height);
    return rows;
  }
  Flops FlopsOf(std::string_view module, const SampleFacts& sample) const override {
    if (module == kLanguageModule) {
      const bool feeds_it = (config_.vision.has_value() && config_.vision->trains()) ||
                            (config_.hearing.has_value() && config_.hearing->trains());
      return HybridFlops(config_.language, sample.row_length, /*passes_gradient=*/feeds_it);
    }
    const ModalityFacts& media = sample.modalities[graph_.Module(module).modalities[0]];
    Flops flops;
    if (module == kRadioEncoderModule) {
      flops = RadioFlops(config_.vision->encoder, media.sizes, config_.vision->train_encoder);
      flops += ProjectorFlops(*config_.vision, media.num_tokens);
    } else {
      flops = AudioFlops(config_.hearing->encoder, media.sizes, config_.hearing->train_encoder);
      flops += ProjectorFlops(*config_.hearing, media.num_tokens);
    }
    return flops;
  }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override {
    const int num_stages = static_cast<int>(shard.pp.size);
    if (module == kRadioEncoderModule) {
      return MakeEncoderTable<RadioEncoder>(*config_.vision, num_stages);
    }
    if (module == kAudioEncoderModule) {
      return MakeEncoderTable<AudioEncoder>(*config_.hearing, num_stages);
    }
    return MakeHybridTable(config_.language, shard);
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view module, StagePlace place,
                                                   const StageResources& resources) const override {
    if (module == kRadioEncoderModule) {
      return EncoderStage<RadioEncoder>::Create(*config_.vision, place, resources);
    }
    if (module == kAudioEncoderModule) {
      return EncoderStage<AudioEncoder>::Create(*config_.hearing, place, resources);
    }
    return HybridStage::Create(config_.language, place, resources);
  }
  absl::StatusOr<std::vector<BoxMap>> NamesIn(NameScheme scheme,
                                              std::string_view module) const override {
    if (module == kLanguageModule) {
      return HybridNames(config_.language, scheme, "language_model.");
    }
    const std::string submodule = MegatronSubmodule(module);
    if (module != kRadioEncoderModule) {
      return HearingNames(config_.hearing.value(), IsMegatron(scheme) ? submodule : "");
    }
    const VisionConfig& vision = config_.vision.value();
    switch (scheme) {
      case NameScheme::kMegatron:
        return VisionNames(vision, scheme, submodule, "encoders.radio_encoder.radio_model.",
                           "input_projections.0.");
      case NameScheme::kMegatronLlava:
        return VisionNames(vision, scheme, "", "vision_model.", "vision_projection.");
      case NameScheme::kHuggingFace:
        break;
    }
    return VisionNames(vision, scheme, "", "vision_model.radio_model.model.", "mlp1.");
  }

 private:
  MultimodalConfig config_;
  ModelGraph graph_;
};

}  // namespace

std::unique_ptr<Model> MakeMultimodalModel(MultimodalConfig config) {
  return std::make_unique<MultimodalModel>(std::move(config));
}

}  // namespace hetero
