#include "hetero/models/vlm/vlm.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/status.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/vlm/vision_config.h"

namespace hetero {

void CheckRelations(const proto::VisionLanguageModel& config, std::string_view path,
                    Violations& violations) {
  const auto below = [&](std::string_view field) {
    return path.empty() ? std::string(field) : absl::StrCat(path, ".", field);
  };
  if (config.has_encoder()) CheckRelations(config.encoder(), below("encoder"), violations);
  if (config.has_projector()) CheckRelations(config.projector(), below("projector"), violations);
  if (!config.has_language()) return;
  CheckRelations(config.language(), below("language"), violations);
  CheckPlaceholder({below("image_token_id"), config.image_token_id()},
                   {below("language.vocabulary_size"), config.language().vocabulary_size()},
                   violations);
}

absl::StatusOr<std::unique_ptr<Model>> MakeVisionLanguageModel(
    const proto::VisionLanguageModel& config, DType storage) {
  Violations violations;
  violations.Add(CheckFieldRules(config, ""));
  CheckRelations(config, "", violations);
  HETERO_RETURN_IF_ERROR(ViolationsError(violations.list()));
  const RadioConfig encoder = RadioConfigFromProto(config.encoder(), storage);
  MultimodalConfig model{.vision = VisionConfig{.encoder = encoder,
                                                .projector = ProjectorConfigFromProto(
                                                    config.projector(), encoder.feature_width(),
                                                    config.language().hidden_size(), storage),
                                                .train_encoder = !config.freeze_encoder(),
                                                .train_projector = !config.freeze_projector()},
                         .image_token_id = config.image_token_id(),
                         .hearing = std::nullopt,
                         .language = HybridConfigFromProto(config.language(), storage)};
  model.language.trainable = !config.freeze_language();
  return MakeMultimodalModel(std::move(model));
}

}  // namespace hetero
