#include "hetero/models/vlm/vlm.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/field_relations.h"
#include "hetero/base/status.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/vlm/encoder_stage.h"

namespace hetero {
namespace {

class VisionLanguageModel : public Model {
 public:
  VisionLanguageModel(VisionConfig vision, HybridConfig language, int64_t image_token_id)
      : vision_(std::move(vision)),
        language_(std::move(language)),
        image_token_id_(image_token_id),
        graph_{.modules = {{.name = std::string(kRadioEncoderModule),
                            .reads_images = true,
                            .storage = language_.storage,
                            .hidden_width = vision_.encoder.layer.hidden_size},
                           LanguageModule(language_)},
               .edges = {{.source = std::string(kRadioEncoderModule),
                          .destination = std::string(kLanguageModule),
                          .width = language_.hidden_size}}} {}

  const ModelGraph& graph() const override { return graph_; }
  InputContract input_contract() const override {
    return {.vocabulary_size = language_.vocabulary_size,
            .image_token_id = image_token_id_,
            .patch_size = vision_.encoder.patch_size,
            .max_image_side = vision_.encoder.max_image_side,
            .patches_per_token = 4};
  }
  int64_t RowsOnEdge(int, const SampleFacts& sample) const override {
    return sample.num_image_tokens;
  }
  int64_t RowsBetweenStages(std::string_view module, const SampleFacts& sample) const override {
    if (module == kRadioEncoderModule) return vision_.encoder.NumTokens(sample.images);
    return sample.row_length;
  }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override {
    if (module == kRadioEncoderModule) {
      return MakeVisionTable(vision_, static_cast<int>(shard.pp.size));
    }
    return MakeHybridTable(language_, shard);
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view module, StagePlace place,
                                                   const StageResources& resources) const override {
    if (module == kRadioEncoderModule) return EncoderStage::Create(vision_, place, resources);
    return HybridStage::Create(language_, place, resources);
  }

 private:
  VisionConfig vision_;
  HybridConfig language_;
  int64_t image_token_id_;
  ModelGraph graph_;
};

VisionConfig VisionConfigFromProto(const proto::VisionLanguageModel& config, DType storage) {
  const proto::RadioEncoder& encoder = config.encoder();
  const proto::Projector& projector = config.projector();
  VisionConfig vision;
  vision.encoder = {.num_layers = encoder.num_layers(),
                    .layer = {.hidden_size = encoder.hidden_size(),
                              .num_heads = encoder.num_heads(),
                              .head_dim = encoder.head_dim(),
                              .ffn_size = encoder.ffn_size(),
                              .gelu = encoder.gelu() == proto::RadioEncoder::ERF ? GeluForm::kErf
                                                                                 : GeluForm::kTanh,
                              .norm_epsilon = encoder.norm_epsilon(),
                              .init_std = encoder.init_std(),
                              .output_init_std = encoder.output_init_std(),
                              .storage = storage},
                    .patch_size = encoder.patch_size(),
                    .max_image_side = encoder.max_image_side(),
                    .num_class_tokens = encoder.num_class_tokens(),
                    .final_norm = encoder.final_norm(),
                    .embedder_init_std = encoder.embedder_init_std(),
                    .class_token_init_std = encoder.class_token_init_std(),
                    .position_init_std = encoder.position_init_std()};
  vision.projector = {.kind = projector.kind() == proto::Projector::MLP
                                  ? ProjectorConfig::Kind::kMlp
                                  : ProjectorConfig::Kind::kAffine,
                      .rms_norm = projector.norm() == proto::Projector::RMS,
                      .input_size = vision.encoder.feature_width(),
                      .ffn_size = projector.ffn_size(),
                      .output_size = config.language().hidden_size(),
                      .norm_epsilon = projector.norm_epsilon(),
                      .init_std = projector.init_std(),
                      .output_init_std = projector.output_init_std(),
                      .storage = storage};
  vision.train_encoder = !config.freeze_encoder();
  vision.train_projector = !config.freeze_projector();
  return vision;
}

void CheckProjector(const proto::Projector& projector, const std::string& path,
                    Violations& violations) {
  if (!violations.Sound({absl::StrCat(path, ".kind"), absl::StrCat(path, ".norm")})) return;
  const bool has_norm = projector.norm() == proto::Projector::RMS;
  if (projector.kind() == proto::Projector::AFFINE) {
    if (!has_norm) return;
    Violation violation =
        Refuse(absl::StrCat(path, ".norm"), " is RMS, an AFFINE projector has no norm", {"NONE"});
    violation.corrections.push_back({{absl::StrCat(path, ".kind"), "MLP"}});
    violations.Add(std::move(violation));
    return;
  }
  for (const auto& [present, field] :
       {std::pair(projector.has_ffn_size(), ".ffn_size"),
        std::pair(projector.has_output_init_std(), ".output_init_std"),
        std::pair(!has_norm || projector.has_norm_epsilon(), ".norm_epsilon")}) {
    if (present) continue;
    violations.Add(Refuse(absl::StrCat(path, field), " is not set, an MLP projector needs it"));
  }
}

void CheckEncoder(const proto::RadioEncoder& encoder, const std::string& path,
                  Violations& violations) {
  const std::string side = absl::StrCat(path, ".max_image_side");
  const std::string patch = absl::StrCat(path, ".patch_size");
  CheckMultiple(violations, {side, encoder.max_image_side()}, {patch, encoder.patch_size()});
  if (!violations.Sound({side, patch}) || encoder.max_image_side() >= 2 * encoder.patch_size()) {
    return;
  }
  Violation violation = Refuse(
      side,
      absl::StrCat(" is ", encoder.max_image_side(), ", must hold the 2 x 2 patches of a token, ",
                   patch, " ", encoder.patch_size(), " each"),
      {absl::StrCat(2 * encoder.patch_size())});
  violations.Add(std::move(violation));
}

}  // namespace

void CheckRelations(const proto::VisionLanguageModel& config, std::string_view path,
                    Violations& violations) {
  const auto below = [&](std::string_view field) {
    return path.empty() ? std::string(field) : absl::StrCat(path, ".", field);
  };
  if (config.has_encoder()) CheckEncoder(config.encoder(), below("encoder"), violations);
  if (config.has_projector()) CheckProjector(config.projector(), below("projector"), violations);
  if (!config.has_language()) return;
  CheckRelations(config.language(), below("language"), violations);
  const std::string token = below("image_token_id");
  const std::string vocabulary = below("language.vocabulary_size");
  const int64_t size = config.language().vocabulary_size();
  if (!violations.Sound({token, vocabulary}) || config.image_token_id() < size) return;
  Violation violation = Refuse(
      token,
      absl::StrCat(" is ", config.image_token_id(), ", must be below ", vocabulary, " ", size),
      {absl::StrCat(size - 1)});
  violation.corrections.push_back({{vocabulary, absl::StrCat(config.image_token_id() + 1)}});
  violations.Add(std::move(violation));
}

absl::StatusOr<std::unique_ptr<Model>> MakeVisionLanguageModel(
    const proto::VisionLanguageModel& config, DType storage) {
  Violations violations;
  violations.Add(CheckFieldRules(config, ""));
  CheckRelations(config, "", violations);
  HETERO_RETURN_IF_ERROR(ViolationsError(violations.list()));
  HybridConfig language = HybridConfigFromProto(config.language(), storage);
  language.trainable = !config.freeze_language();
  return std::make_unique<VisionLanguageModel>(VisionConfigFromProto(config, storage),
                                               std::move(language), config.image_token_id());
}

}  // namespace hetero
