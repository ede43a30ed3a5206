#ifndef HETERO_MODELS_BLOCKS_MLP_MLP_H_
#define HETERO_MODELS_BLOCKS_MLP_MLP_H_

// Residual block of a dense MLP with squared ReLU:
//   hidden' = hidden + relu(RMSNorm(hidden) W1ᵀ + b1)² W2ᵀ + b2,   by default without biases.
// Shape letters: T tokens, R of them this rank's, H hidden, F inner width, this rank's share of it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/parallel_linear.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

struct MlpConfig {
  int64_t hidden_size = 0;
  int64_t ffn_size = 0;
  bool use_bias = false;
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;
};

class MlpBlock {
 public:
  struct Saved {
    ConstTensorView hidden_RH;
    TensorView rstd_R;
    TensorView normed_RH;  // null after a forward with selective_recompute, as activated_TF
    TensorView inner_TF;   // before the activation
    TensorView activated_TF;
  };

  // The block's rows of the table; `prefix` is "decoder.layers.3.".
  static std::vector<ParameterSpec> Parameters(const MlpConfig& config, std::string_view prefix);

  // `parameters` outlives the block. `tensor_parallel`: null where the group has one rank.
  // Errors: NOT_FOUND for parameters outside the store.
  static absl::StatusOr<MlpBlock> Create(const MlpConfig& config, std::string_view prefix,
                                         ParameterStore& parameters, Communicator* tensor_parallel);

  // Returns hidden', in the activation arena. `hidden_RH` stays as it is until Backward.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_RH,
                                     const SequenceBatch& batch, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& kept, TensorView d_hidden_RH) const;

 private:
  // `kept` with what selective_recompute left out.
  absl::StatusOr<Saved> Complete(ModuleContext& context, const Saved& kept) const;

  double norm_epsilon_ = 0;
  Parameter* norm_weight_H_ = nullptr;
  ColumnLinear w1_FH_;
  RowLinear w2_HF_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MLP_MLP_H_
