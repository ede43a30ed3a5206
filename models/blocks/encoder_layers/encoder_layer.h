#ifndef HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYER_H_
#define HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYER_H_

// Pre-norm transformer layer of an encoder, with biases, attention both ways inside one image or
// clip:
//   h = hidden + Attention(LayerNorm(hidden) Wqkvᵀ + bqkv) Woᵀ + bo
//   hidden' = h + gelu(LayerNorm(h) W1ᵀ + b1) W2ᵀ + b2
//
// Shape letters: S tokens of all images or clips, C hidden, N = 3 heads head_dim, K = heads
// head_dim, F inner width. Rows of Wqkv lie head by head: its query, key and value (Megatron-LM's
// order).

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/encoder_layers/layer_norm.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/ops/activation/activation.h"

namespace hetero {

struct EncoderLayerConfig {
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn_size = 0;
  GeluForm gelu = GeluForm::kTanh;
  double norm_epsilon = 1e-6;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;

  int64_t attention_width() const { return num_heads * head_dim; }
};

class EncoderLayer {
 public:
  struct Saved {
    std::span<const int32_t> segments;  // host
    SavedLayerNorm norm1;
    TensorView normed1_SC;
    TensorView qkv_SN;
    TensorView attention_SK;
    TensorView lse;
    SavedLayerNorm norm2;
    TensorView normed2_SC;
    TensorView inner_SF;  // before bias and activation
    TensorView activated_SF;
  };

  // `prefix` is "decoder.layers.3.".
  static std::vector<ParameterSpec> Parameters(const EncoderLayerConfig& config,
                                               std::string_view prefix);

  // `parameters` outlives the layer. Errors: NOT_FOUND for parameters outside the store;
  // UNIMPLEMENTED with tensor parallelism (non-null communicator).
  static absl::StatusOr<EncoderLayer> Create(const EncoderLayerConfig& config,
                                             std::string_view prefix, ParameterStore& parameters,
                                             Communicator* tensor_parallel);

  // Returns hidden', in the activation arena. Image or clip i is rows [segments[i],
  // segments[i + 1]).
  // `hidden_SC` and `segments` stay as they are until Backward.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_SC,
                                     std::span<const int32_t> segments, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_hidden_SC) const;

 private:
  EncoderLayerConfig config_;
  LayerNormParameters norm1_, norm2_;
  Parameter* w_qkv_NC_ = nullptr;
  Parameter* b_qkv_N_ = nullptr;
  Parameter* w_out_CK_ = nullptr;
  Parameter* b_out_C_ = nullptr;
  Parameter* w1_FC_ = nullptr;
  Parameter* b1_F_ = nullptr;
  Parameter* w2_CF_ = nullptr;
  Parameter* b2_C_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYER_H_
