#include "hetero/models/avlm/avlm.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/base/status.h"
#include "hetero/models/audio/audio_config.h"
#include "hetero/models/nemotron/hybrid_model.h"
#include "hetero/models/vlm/multimodal_model.h"
#include "hetero/models/vlm/vision_config.h"

namespace hetero {
namespace {

using proto::AudioVisionLanguageModel;

// Two kinds of rows cannot stand behind one token.
void CheckDistinct(const AudioVisionLanguageModel& config, const std::string& image,
                   const std::string& audio, const std::string& vocabulary,
                   Violations& violations) {
  const int64_t token = config.image().token_id();
  if (!violations.Sound({image, audio, vocabulary}) || token != config.audio().token_id()) return;
  Violation violation = Refuse(audio, absl::StrCat(" is ", token, ", which is also ", image));
  for (const int64_t other : {token - 1, token + 1}) {
    if (other < 0 || other >= config.language().vocabulary_size()) continue;
    violation.corrections.push_back({{audio, absl::StrCat(other)}});
  }
  violations.Add(std::move(violation));
}

template <typename Config, typename Encoder, typename Message>
Config Projected(const Message& part, const Encoder& encoder, int64_t output_size, DType storage) {
  return {.encoder = encoder,
          .projector = ProjectorConfigFromProto(part.projector(), encoder.feature_width(),
                                                output_size, storage),
          .train_encoder = !part.freeze_encoder(),
          .train_projector = !part.freeze_projector()};
}

}  // namespace

void CheckRelations(const AudioVisionLanguageModel& config, std::string_view path,
                    Violations& violations) {
  const auto below = [&](std::string_view field) {
    return path.empty() ? std::string(field) : absl::StrCat(path, ".", field);
  };
  const std::string vocabulary = below("language.vocabulary_size");
  const int64_t size = config.language().vocabulary_size();
  const std::string image = below("image.token_id"), audio = below("audio.token_id");
  const auto check = [&](const auto& part, const std::string& name, const std::string& token) {
    if (part.has_encoder()) {
      CheckRelations(part.encoder(), absl::StrCat(name, ".encoder"), violations);
    }
    if (part.has_projector()) {
      CheckRelations(part.projector(), absl::StrCat(name, ".projector"), violations);
    }
    if (config.has_language()) {
      CheckPlaceholder({token, part.token_id()}, {vocabulary, size}, violations);
    }
  };
  if (config.has_image()) check(config.image(), below("image"), image);
  if (config.has_audio()) check(config.audio(), below("audio"), audio);
  if (!config.has_language()) return;
  if (config.has_image() && config.has_audio()) {
    CheckDistinct(config, image, audio, vocabulary, violations);
  }
  CheckRelations(config.language(), below("language"), violations);
}

absl::StatusOr<std::unique_ptr<Model>> MakeAudioVisionLanguageModel(
    const AudioVisionLanguageModel& config, DType storage) {
  Violations violations;
  violations.Add(CheckFieldRules(config, ""));
  CheckRelations(config, "", violations);
  HETERO_RETURN_IF_ERROR(ViolationsError(violations.list()));
  MultimodalConfig model{.image_token_id = config.image().token_id(),
                         .audio_token_id = config.audio().token_id(),
                         .language = HybridConfigFromProto(config.language(), storage)};
  model.language.trainable = !config.freeze_language();
  const int64_t width = config.language().hidden_size();
  if (config.has_image()) {
    model.vision = Projected<VisionConfig>(
        config.image(), RadioConfigFromProto(config.image().encoder(), storage), width, storage);
  }
  if (config.has_audio()) {
    model.hearing = Projected<HearingConfig>(
        config.audio(), AudioConfigFromProto(config.audio().encoder(), storage), width, storage);
  }
  return MakeMultimodalModel(std::move(model));
}

}  // namespace hetero
