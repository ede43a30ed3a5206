#ifndef HETERO_MODELS_NEMOTRON_HYBRID_FLOPS_H_
#define HETERO_MODELS_NEMOTRON_HYBRID_FLOPS_H_

#include <cstdint>

#include "hetero/models/blocks/flops.h"
#include "hetero/models/nemotron/hybrid.h"

namespace hetero {

// Of a sequence of so many tokens, all of which count in the loss: products with the parameters, of
// experts with the chosen ones; the half of attention's square that is not masked; the scan in
// chunks. `passes_gradient`: also what a frozen model does for what feeds it.
Flops HybridFlops(const HybridConfig& config, int64_t sequence_length, bool passes_gradient);

}  // namespace hetero

#endif  // HETERO_MODELS_NEMOTRON_HYBRID_FLOPS_H_
