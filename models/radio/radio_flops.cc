#include "hetero/models/radio/radio_flops.h"

#include "hetero/models/blocks/encoder_layers/layer_flops.h"

namespace hetero {

Flops RadioFlops(const RadioConfig& config, std::span<const ImageSize> images, bool trains) {
  Flops flops;
  for (size_t i = 0; i < images.size(); ++i) {
    const int64_t rows = config.NumTokens(images.subspan(i, 1));
    const auto embedder = static_cast<double>(config.patch_features() * config.layer.hidden_size);
    flops += OfParameterProducts(2 * embedder * static_cast<double>(rows - config.num_class_tokens),
                                 {.inputs = false, .parameters = trains});
    flops += EncoderLayersFlops(config.layers(), rows, {.inputs = trains, .parameters = trains});
  }
  return flops;
}

}  // namespace hetero
