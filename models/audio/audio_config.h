#ifndef HETERO_MODELS_AUDIO_AUDIO_CONFIG_H_
#define HETERO_MODELS_AUDIO_AUDIO_CONFIG_H_

// The audio encoder's configuration message.

#include <string_view>

#include "hetero/base/violation.h"
#include "hetero/models/audio/audio.pb.h"
#include "hetero/models/audio/encoder.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

// Adds the rules of `config` that are not bounds of a field, judging fields that are sound in
// `violations`. Pure. `path` names the message in its configuration, "model.audio".
void CheckRelations(const proto::AudioEncoder& config, std::string_view path,
                    Violations& violations);

// Precondition: neither a field's own rule nor one of CheckRelations is broken.
AudioConfig AudioConfigFromProto(const proto::AudioEncoder& config, DType storage);

}  // namespace hetero

#endif  // HETERO_MODELS_AUDIO_AUDIO_CONFIG_H_
