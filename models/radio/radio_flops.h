#ifndef HETERO_MODELS_RADIO_RADIO_FLOPS_H_
#define HETERO_MODELS_RADIO_RADIO_FLOPS_H_

#include <span>

#include "hetero/models/blocks/flops.h"
#include "hetero/models/radio/encoder.h"

namespace hetero {

// Of the encoder over images: products with the embedder, whose inputs get no gradient, and the
// layers, with attention within each image.
Flops RadioFlops(const RadioConfig& config, std::span<const ImageSize> images, bool trains);

}  // namespace hetero

#endif  // HETERO_MODELS_RADIO_RADIO_FLOPS_H_
