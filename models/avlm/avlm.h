#ifndef HETERO_MODELS_AVLM_AVLM_H_
#define HETERO_MODELS_AVLM_AVLM_H_

// A language model that may see and hear: "radio_encoder" and "audio_encoder", as far as they are
// configured, feed "language".

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/models/avlm/avlm.pb.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

// Adds the rules that the fields of `config` break with each other, judging those that are sound in
// `violations`. Pure. `path` names the message in its configuration, "model".
void CheckRelations(const proto::AudioVisionLanguageModel& config, std::string_view path,
                    Violations& violations);

// Errors: INVALID_ARGUMENT with every broken rule, one a line.
absl::StatusOr<std::unique_ptr<Model>> MakeAudioVisionLanguageModel(
    const proto::AudioVisionLanguageModel& config, DType storage = DType::kF32);

}  // namespace hetero

#endif  // HETERO_MODELS_AVLM_AVLM_H_
