#ifndef HETERO_MODELS_VLM_VLM_H_
#define HETERO_MODELS_VLM_VLM_H_

// A vision-language model of two modules: "radio_encoder", which is the RADIO encoder with the
// projector on its last stage, feeds "language", a hybrid language model.

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/models/stage.h"
#include "hetero/models/vlm/multimodal_model.h"
#include "hetero/models/vlm/vlm.pb.h"

namespace hetero {

// Adds the rules that the fields of `config` break with each other, judging those that are sound in
// `violations`. Pure. `path` names the message in its configuration, "model".
void CheckRelations(const proto::VisionLanguageModel& config, std::string_view path,
                    Violations& violations);

// Errors: INVALID_ARGUMENT with every broken rule, one a line.
absl::StatusOr<std::unique_ptr<Model>> MakeVisionLanguageModel(
    const proto::VisionLanguageModel& config, DType storage = DType::kF32);

}  // namespace hetero

#endif  // HETERO_MODELS_VLM_VLM_H_
