#ifndef HETERO_MODELS_NEMOTRON_HYBRID_NAMES_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_NAMES_H_

// The hybrid language model's parameters in Megatron-LM's sharded checkpoints and in those of
// transformers' nemotron_h, whose files say "backbone." where its modules say "model.", have a
// tensor an expert, and queries, keys and values apart.

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/models/names/names.h"
#include "hetero/models/nemotron/hybrid.h"
#include "hetero/params/box_map.h"

namespace hetero {

// `key_prefix` goes before every key and ends with a dot or is empty. Vocabulary matrices have the
// rows of the vocabulary, without padding.
// Errors: INTERNAL for a parameter that the scheme has no name for.
absl::StatusOr<std::vector<BoxMap>> HybridNames(const HybridConfig& config, NameScheme scheme,
                                                std::string_view key_prefix);

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_NAMES_H_
