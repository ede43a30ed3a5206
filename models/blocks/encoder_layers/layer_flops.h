#ifndef HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_FLOPS_H_
#define HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_FLOPS_H_

#include <cstdint>

#include "hetero/models/blocks/encoder_layers/encoder_layers.h"
#include "hetero/models/blocks/flops.h"

namespace hetero {

// Of all layers over one image or clip of `rows` rows: products with the parameters, and attention
// of every row to all of them.
Flops EncoderLayersFlops(const EncoderLayersConfig& config, int64_t rows, WantedGradients wanted);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ENCODER_LAYERS_LAYER_FLOPS_H_
