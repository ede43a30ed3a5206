#ifndef HETERO_MODELS_RADIO_RADIO_FLOPS_H_
#define HETERO_MODELS_RADIO_RADIO_FLOPS_H_

// What a forward pass of the encoder is: floating-point operations by its definition, the same in
// every layout and for every kernel. Three times as many where it trains.

#include <span>

#include "hetero/models/radio/encoder.h"

namespace hetero {

// Products with the embedder and the layers, and attention within each image.
double RadioForwardFlops(const RadioConfig& config, std::span<const ImageSize> images);

}  // namespace hetero

#endif  // HETERO_MODELS_RADIO_RADIO_FLOPS_H_
