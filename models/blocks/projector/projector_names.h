#ifndef HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_NAMES_H_
#define HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_NAMES_H_

// The projector's parameters in checkpoints of others.

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/models/blocks/projector/projector.h"
#include "hetero/models/names/names.h"
#include "hetero/params/box_map.h"

namespace hetero {

// Prefixes end with a dot: of the parameters, as Projector::Parameters takes it, and of the keys,
// "mlp1." in published checkpoints, whose projectors are of the mlp kind with a norm.
// Errors: INTERNAL for a parameter that the scheme has no name for.
absl::StatusOr<std::vector<BoxMap>> ProjectorNames(const ProjectorConfig& config, NameScheme scheme,
                                                   std::string_view name_prefix,
                                                   std::string_view key_prefix);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_NAMES_H_
