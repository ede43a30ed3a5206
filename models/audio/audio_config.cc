#include "hetero/models/audio/audio_config.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace hetero {

void CheckRelations(const proto::AudioEncoder& config, std::string_view path,
                    Violations& violations) {
  const std::string width =
      path.empty() ? std::string("hidden_size") : absl::StrCat(path, ".hidden_size");
  const int64_t size = config.hidden_size();
  if (!violations.Sound({width}) || size % 2 == 0) return;
  violations.Add(Refuse(
      width, absl::StrCat(" is ", size, ", must be even: a position is as many sines as cosines"),
      {absl::StrCat(size - 1), absl::StrCat(size + 1)}));
}

AudioConfig AudioConfigFromProto(const proto::AudioEncoder& config, DType storage) {
  return {.num_layers = config.num_layers(),
          .layer = {.hidden_size = config.hidden_size(),
                    .num_heads = config.num_heads(),
                    .head_dim = config.head_dim(),
                    .ffn_size = config.ffn_size(),
                    .gelu = config.gelu() == proto::AudioEncoder::TANH ? GeluForm::kTanh
                                                                       : GeluForm::kErf,
                    .norm_epsilon = config.norm_epsilon(),
                    .init_std = config.init_std(),
                    .output_init_std = config.output_init_std(),
                    .storage = storage},
          .num_mels = config.num_mels(),
          .max_frames = config.max_frames(),
          .convolution_init_std = config.convolution_init_std()};
}

}  // namespace hetero
