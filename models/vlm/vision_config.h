#ifndef HETERO_MODELS_VLM_VISION_CONFIG_H_
#define HETERO_MODELS_VLM_VISION_CONFIG_H_

// The configuration messages of what stands before a language model.

#include <cstdint>
#include <string_view>

#include "hetero/base/field_relations.h"
#include "hetero/base/violation.h"
#include "hetero/models/blocks/projector/projector.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/models/vlm/vlm.pb.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

// Add the rules that the fields of a message break with each other, judging those that are sound in
// `violations`. Pure. `path` names the message in its configuration, "model.projector".
void CheckRelations(const proto::RadioEncoder& encoder, std::string_view path,
                    Violations& violations);
void CheckRelations(const proto::Projector& projector, std::string_view path,
                    Violations& violations);

// Adds a violation unless the token is one of the vocabulary.
void CheckPlaceholder(const NumberField& token, const NumberField& vocabulary,
                      Violations& violations);

// Precondition, of both: neither a field's own rule nor one of CheckRelations is broken.
RadioConfig RadioConfigFromProto(const proto::RadioEncoder& encoder, DType storage);
ProjectorConfig ProjectorConfigFromProto(const proto::Projector& projector, int64_t input_size,
                                         int64_t output_size, DType storage);

}  // namespace hetero

#endif  // HETERO_MODELS_VLM_VISION_CONFIG_H_
