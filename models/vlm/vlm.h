#ifndef HETERO_MODELS_VLM_VLM_H_
#define HETERO_MODELS_VLM_VLM_H_

// A vision-language model of two modules: "radio_encoder", which is the RADIO encoder with the
// projector on its last stage, feeds "language", a hybrid language model.

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/models/stage.h"
#include "hetero/models/vlm/vlm.pb.h"

namespace hetero {

inline constexpr std::string_view kRadioEncoderModule = "radio_encoder";

// Errors: INVALID_ARGUMENT naming field, value and rule where sizes do not fit each other.
// Precondition: the message's own field rules hold.
absl::StatusOr<std::unique_ptr<Model>> MakeVisionLanguageModel(
    const proto::VisionLanguageModel& config, DType storage = DType::kF32);

}  // namespace hetero

#endif  // HETERO_MODELS_VLM_VLM_H_
