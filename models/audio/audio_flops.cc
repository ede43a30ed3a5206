#include "hetero/models/audio/audio_flops.h"

#include "hetero/models/blocks/encoder_layers/layer_flops.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero {

Flops AudioFlops(const AudioConfig& config, std::span<const MediaSize> clips, bool trains) {
  const WantedGradients wanted = {.inputs = trains, .parameters = trains};
  // Of a row that a convolution of three taps makes.
  const auto row = [&](int64_t channels) {
    return 2 * 3 * static_cast<double>(channels * config.layer.hidden_size);
  };
  Flops flops;
  for (const MediaSize& clip : clips) {
    const int64_t rows = AudioRows(clip.height);
    flops += OfParameterProducts(clip.height * row(config.num_mels),
                                 {.inputs = false, .parameters = trains});
    flops += OfParameterProducts(static_cast<double>(rows) * row(config.layer.hidden_size), wanted);
    flops += EncoderLayersFlops(config.layers(), rows, wanted);
  }
  return flops;
}

}  // namespace hetero
