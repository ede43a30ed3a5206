#ifndef HETERO_MODELS_BLOCKS_MLP_MLP_H_
#define HETERO_MODELS_BLOCKS_MLP_MLP_H_

// Residual block of a dense MLP with squared ReLU and no biases:
//   hidden' = hidden + relu(RMSNorm(hidden) W1ᵀ)² W2ᵀ.
// Shape letters: T tokens, H hidden, F inner width.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

struct MlpConfig {
  int64_t hidden_size = 0;
  int64_t ffn_size = 0;
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;
};

class MlpBlock {
 public:
  struct Saved {
    ConstTensorView hidden_TH;
    TensorView rstd_T;
    TensorView normed_TH;
    TensorView inner_TF;  // before the activation
    TensorView activated_TF;
  };

  // The block's rows of the table; `prefix` is "decoder.layers.3.".
  static std::vector<ParameterSpec> Parameters(const MlpConfig& config, std::string_view prefix);

  // `parameters` outlives the block. `tensor_parallel`: null where the group has one rank.
  // Errors: NOT_FOUND for parameters outside the store; UNIMPLEMENTED with tensor parallelism.
  static absl::StatusOr<MlpBlock> Create(const MlpConfig& config, std::string_view prefix,
                                         ParameterStore& parameters, Communicator* tensor_parallel);

  // Returns hidden', in the activation arena. `hidden_TH` stays as it is until Backward.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_TH,
                                     const SequenceBatch& batch, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_hidden_TH) const;

 private:
  MlpConfig config_;
  Parameter* norm_weight_H_ = nullptr;
  Parameter* w1_FH_ = nullptr;
  Parameter* w2_HF_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MLP_MLP_H_
