#ifndef HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYER_H_
#define HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYER_H_

// Pre-norm transformer layer of an encoder, with biases, attention both ways inside one image or
// clip:
//   h = hidden + s1 (Attention(LayerNorm(hidden) Wqkvᵀ + bqkv) Woᵀ + bo)
//   hidden' = h + s2 (gelu(LayerNorm(h) W1ᵀ + b1) W2ᵀ + b2)
//
// or with SwiGLU instead of gelu, of which the first rows of W1 make the gates; by default without
// the learned scales s1 and s2 of the channels.
//
// Tensor-parallel ranks divide the heads and the inner width, and between them the tokens: norms
// and residuals are of own rows (token_shard.h), attention is of own heads over all tokens, which
// their owners are asked for around each product (parallel_linear.h).
//
// Shape letters: S tokens of all images or clips, R rows of a rank, C hidden, N = 3 heads head_dim,
// K = heads head_dim, F inner width, D rows of W1, F or with SwiGLU 2 F; N, K, F and D are a rank's
// own. Rows of Wqkv lie head by head: its query, key and value (Megatron-LM's order).

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/encoder_layers/layer_norm.h"
#include "hetero/models/blocks/parallel_linear.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/ops/activation/activation.h"

namespace hetero {

struct EncoderLayerConfig {
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn_size = 0;             // F
  GeluForm gelu = GeluForm::kTanh;  // without swiglu
  bool swiglu = false;
  bool qkv_bias = true;
  double layer_scale_init = 0;  // of s1 and s2; 0: there are none
  double norm_epsilon = 1e-6;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;

  int64_t attention_width() const { return num_heads * head_dim; }
};

class EncoderLayer {
 public:
  // Null after a forward with selective_recompute: normed1_RC, normed2_RC, activated_SF.
  struct Saved {
    std::span<const int32_t> segments;  // host
    SavedLayerNorm norm1;
    TensorView normed1_RC;
    TensorView qkv_SN;
    TensorView attention_SK;
    TensorView lse;
    TensorView branch1_RC;  // what s1 multiplies
    SavedLayerNorm norm2;
    TensorView normed2_RC;
    TensorView inner_SD;  // before bias and activation
    TensorView activated_SF;
    TensorView branch2_RC;
  };

  // `prefix` is "decoder.layers.3.".
  static std::vector<ParameterSpec> Parameters(const EncoderLayerConfig& config,
                                               std::string_view prefix);

  // `parameters` outlives the layer. Errors: INVALID_ARGUMENT when num_heads or ffn_size do not
  // divide by the tensor-parallel ranks; NOT_FOUND for parameters outside the store.
  static absl::StatusOr<EncoderLayer> Create(const EncoderLayerConfig& config,
                                             std::string_view prefix, ParameterStore& parameters,
                                             SequenceParallel sequence);

  // Returns hidden', in the activation arena. Image or clip i is rows [segments[i],
  // segments[i + 1]) of all S.
  // `hidden_RC` and `segments` stay as they are until Backward.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_RC,
                                     std::span<const int32_t> segments, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& kept, TensorView d_hidden_RC) const;

 private:
  absl::StatusOr<TensorView> MlpForward(ModuleContext& context, TensorView middle_RC,
                                        Saved& saved) const;
  absl::Status Activate(const Saved& saved, Stream& stream) const;
  std::array<int64_t, 2> ActivatedDims(const TensorView& inner_SD) const;
  // `kept` with what selective_recompute left out.
  absl::StatusOr<Saved> Complete(ModuleContext& context, const Saved& kept) const;
  // Adds the gradient of b1 and returns that of the inner product, in the workspace;
  // `d_activated_SF` may be overwritten.
  absl::StatusOr<TensorView> ActivationBackward(ModuleContext& context, const Saved& saved,
                                                TensorView d_activated_SF) const;

  EncoderLayerConfig config_;
  int64_t num_heads_ = 0;  // of this rank
  LayerNormParameters norm1_, norm2_;
  ColumnLinear qkv_;
  RowLinear out_;
  ColumnLinear fc1_;  // without its bias, which the activation adds
  Parameter* b1_D_ = nullptr;
  RowLinear fc2_;
  Parameter* scale1_C_ = nullptr;  // null: none
  Parameter* scale2_C_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ENCODER_LAYERS_ENCODER_LAYER_H_
