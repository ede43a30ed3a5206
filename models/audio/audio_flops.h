#ifndef HETERO_MODELS_AUDIO_AUDIO_FLOPS_H_
#define HETERO_MODELS_AUDIO_AUDIO_FLOPS_H_

#include <span>

#include "hetero/models/audio/encoder.h"
#include "hetero/models/blocks/flops.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero {

// Of the encoder over clips, whose heights are their frames: both convolutions, the first of which
// passes no gradient on, and the layers, with attention within each clip.
Flops AudioFlops(const AudioConfig& config, std::span<const MediaSize> clips, bool trains);

}  // namespace hetero

#endif  // HETERO_MODELS_AUDIO_AUDIO_FLOPS_H_
