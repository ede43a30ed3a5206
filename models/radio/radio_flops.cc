#include "hetero/models/radio/radio_flops.h"

#include "hetero/models/blocks/encoder_layers/layer_flops.h"

namespace hetero {

double RadioForwardFlops(const RadioConfig& config, std::span<const ImageSize> images) {
  double flops = 0;
  for (size_t i = 0; i < images.size(); ++i) {
    const int64_t rows = config.NumTokens(images.subspan(i, 1));
    const auto embedder = static_cast<double>(config.patch_features() * config.layer.hidden_size);
    flops += 2 * embedder * static_cast<double>(rows - config.num_class_tokens) +
             EncoderLayersForwardFlops(config.layers(), rows);
  }
  return flops;
}

}  // namespace hetero
