#ifndef HETERO_MODELS_NEMOTRON_HYBRID_MODEL_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_MODEL_H_

// The hybrid language model from its configuration message, alone or as the sink of a larger model.

#include <memory>

#include "absl/status/statusor.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/models/nemotron/hybrid.pb.h"
#include "hetero/models/stage.h"

namespace hetero {

// Errors: those of LayerPattern::Parse; INVALID_ARGUMENT naming a message that the pattern needs
// and `config` lacks. Precondition: the message's own field rules hold.
absl::StatusOr<HybridConfig> HybridConfigFromProto(const proto::HybridLanguageModel& config,
                                                   DType storage);

// One module, "language", and no edges: trains on text alone.
absl::StatusOr<std::unique_ptr<Model>> MakeHybridModel(const proto::HybridLanguageModel& config,
                                                       DType storage = DType::kF32);

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_MODEL_H_
