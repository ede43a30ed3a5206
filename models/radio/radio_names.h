#ifndef HETERO_MODELS_RADIO_RADIO_NAMES_H_
#define HETERO_MODELS_RADIO_RADIO_NAMES_H_

// The RADIO encoder's parameters in Megatron-LM's sharded checkpoints, which stack the layers, and
// in published ones, which have queries, keys and values of all heads one after another.

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/models/names/names.h"
#include "hetero/models/radio/encoder.h"
#include "hetero/params/box_map.h"

namespace hetero {

// Prefixes end with a dot or are empty.
struct RadioPrefixes {
  std::string_view name;  // of the parameters, as RadioEncoder::Parameters takes it
  std::string_view key;   // "radio_model.model.", "...radio_encoder.radio_model."
  // Published encoders end without a last norm; that of a model around them lies elsewhere.
  std::string_view final_norm_key = "radio_model.model.final_layernorm.";
};

// Errors: INTERNAL for a parameter that the scheme has no name for.
absl::StatusOr<std::vector<BoxMap>> RadioNames(const RadioConfig& config, NameScheme scheme,
                                               const RadioPrefixes& prefixes);

}  // namespace hetero

#endif  // HETERO_MODELS_RADIO_RADIO_NAMES_H_
