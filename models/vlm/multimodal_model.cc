#include "hetero/models/vlm/multimodal_model.h"

#include <string>
#include <utility>

#include "hetero/models/audio/audio_flops.h"
#include "hetero/models/blocks/projector/encoder_stage.h"
#include "hetero/models/nemotron/hybrid_flops.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/radio/radio_flops.h"
#include "hetero/params/counts.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {
namespace {

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

 private:
  MultimodalConfig config_;
  ModelGraph graph_;
};

}  // namespace

std::unique_ptr<Model> MakeMultimodalModel(MultimodalConfig config) {
  return std::make_unique<MultimodalModel>(std::move(config));
}

}  // namespace hetero
