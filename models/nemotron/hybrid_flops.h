#ifndef HETERO_MODELS_NEMOTRON_HYBRID_FLOPS_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_FLOPS_H_

// What a forward pass of the language model is: floating-point operations by its definition, the
// same in every layout and for every kernel. Three times as many where all of it trains.

#include <cstdint>
#include <span>

#include "hetero/models/nemotron/hybrid.h"

namespace hetero {

// Of sequences of these numbers of tokens: products with the parameters, the half of attention's
// squares that is not masked, and the scan in chunks. Norms, activations, softmax and what is
// computed twice are not in it.
double HybridForwardFlops(const HybridConfig& config, std::span<const int64_t> sequence_lengths);

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_FLOPS_H_
