#ifndef HETERO_MODELS_VLM_MULTIMODAL_MODEL_H_
#define HETERO_MODELS_VLM_MULTIMODAL_MODEL_H_

// A language model with any of an image and an audio encoder before it, each a module of its own
// with the projector on its last stage.

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "hetero/models/audio/encoder.h"
#include "hetero/models/blocks/projector/projected_encoder.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/stage.h"

namespace hetero {

inline constexpr std::string_view kRadioEncoderModule = "radio_encoder";
inline constexpr std::string_view kAudioEncoderModule = "audio_encoder";

using VisionConfig = ProjectedEncoder<RadioEncoder>::Config;
using HearingConfig = ProjectedEncoder<AudioEncoder>::Config;

struct MultimodalConfig {
  std::optional<VisionConfig> vision;
  int64_t image_token_id = 0;
  std::optional<HearingConfig> hearing;
  int64_t audio_token_id = 0;
  HybridConfig language;
};

// Modalities are in the order image, audio, as far as there are encoders.
std::unique_ptr<Model> MakeMultimodalModel(MultimodalConfig config);

}  // namespace hetero

#endif  // HETERO_MODELS_VLM_MULTIMODAL_MODEL_H_
