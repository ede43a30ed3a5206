#ifndef HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYERS_H_
#define HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYERS_H_

// The transformer layers of an encoder that one pipeline stage holds, and behind the last of all
// layers the norm. What makes hidden rows of images or clips, and what is made of them, is the
// encoder's own.
//
// Shape letters: S tokens of all images or clips, R rows of a tensor-parallel rank, C hidden.

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/encoder_layers/encoder_layer.h"
#include "hetero/models/blocks/encoder_layers/layer_norm.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/models/stage.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"

namespace hetero {

struct EncoderLayersConfig {
  int64_t num_layers = 0;
  EncoderLayerConfig layer;
  bool final_norm = true;
};

class EncoderLayers {
 public:
  struct Saved {
    std::vector<EncoderLayer::Saved> layers;
    SavedLayerNorm final_norm;
  };

  // Of all stages; layer l of L lies on stage l * num_stages / L, the norm on the last. `prefix`
  // ends with a dot or is empty; names are "decoder.layers.3." and "decoder.final_layernorm.".
  // Layer l has number 1 + l (ParameterSpec::layer), the norm is of kLastLayer: 0 is left to what
  // comes before.
  static std::vector<ParameterSpec> Parameters(const EncoderLayersConfig& config,
                                               std::string_view prefix, int num_stages);

  // `parameters` holds those of the stage and outlives the layers. Errors: those of
  // EncoderLayer; NOT_FOUND for parameters outside the store.
  static absl::StatusOr<EncoderLayers> Create(const EncoderLayersConfig& config,
                                              std::string_view prefix, StagePlace place,
                                              ParameterStore& parameters,
                                              SequenceParallel sequence);

  // Returns [R, C], in the activation arena. `hidden_RC` and `segments`, of EncoderLayer, stay as
  // they are until Backward.
  absl::StatusOr<ConstTensorView> Forward(ModuleContext& context, ConstTensorView hidden_RC,
                                          std::span<const int32_t> segments, Saved& saved) const;

  // Turns the gradient of what Forward returned into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_hidden_RC) const;

 private:
  double norm_epsilon_ = 0;
  int first_number_ = 0;  // of layers_
  std::vector<EncoderLayer> layers_;
  LayerNormParameters final_norm_;  // null on every other stage
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYERS_H_
