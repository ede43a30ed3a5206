#include "hetero/models/blocks/encoder_layers/layer_flops.h"

#include "hetero/params/counts.h"

namespace hetero {

double EncoderLayersForwardFlops(const EncoderLayersConfig& config, int64_t rows) {
  const auto length = static_cast<double>(rows);
  const double products = ProductFlops(EncoderLayer::Parameters(config.layer, ""));
  // q kᵀ and the sum of v.
  const double per_pair = 2 * 2 * static_cast<double>(config.layer.attention_width());
  return static_cast<double>(config.num_layers) * length * (products + per_pair * length);
}

}  // namespace hetero
