#include "hetero/models/blocks/encoder_layers/layer_flops.h"

#include "hetero/params/counts.h"

namespace hetero {

Flops EncoderLayersFlops(const EncoderLayersConfig& config, int64_t rows, WantedGradients wanted) {
  const auto length = static_cast<double>(rows);
  const auto layers = static_cast<double>(config.num_layers);
  const double products = ProductFlops(EncoderLayer::Parameters(config.layer, ""));
  // q kᵀ and the sum of v.
  const double per_pair = 2 * 2 * static_cast<double>(config.layer.attention_width());
  Flops flops = OfParameterProducts(layers * length * products, wanted);
  flops += OfActivationProducts(layers * length * length * per_pair, wanted);
  return flops;
}

}  // namespace hetero
