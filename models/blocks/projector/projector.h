#ifndef HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_H_
#define HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_H_

// From features of an encoder to the width of the language model, without biases:
//   affine  y = x Wᵀ
//   mlp     y = relu(u W1ᵀ)² W2ᵀ,  u = x or RMSNorm(x)
// Tensor-parallel ranks divide the rows of W and W1 and the columns of W2, as Megatron-LM does, and
// the rows of x and y as tokens (token_shard.h). The affine product leaves a rank with its columns
// of all rows, which the other ranks' zeros complete on the way to the rows' owners.
//
// Shape letters: N rows of all ranks, R of a rank, D input width, F a rank's inner width, H output
// width.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/parallel_linear.h"
#include "hetero/models/blocks/sequence_parallel.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"

namespace hetero {

struct ProjectorConfig {
  enum class Kind : uint8_t { kAffine, kMlp };

  Kind kind = Kind::kAffine;
  bool rms_norm = false;  // of the input; kMlp only
  int64_t input_size = 0;
  int64_t ffn_size = 0;  // kMlp only
  int64_t output_size = 0;
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;  // of the second layer
  DType storage = DType::kF32;
};

class Projector {
 public:
  // Null after a forward with selective_recompute: normed_RD, activated_NF.
  struct Saved {
    int64_t num_rows = 0;  // N
    ConstTensorView input_RD;
    TensorView rstd_R;
    ConstTensorView normed_RD;  // the input without a norm
    TensorView inner_NF;
    TensorView activated_NF;
  };

  // `prefix` ends with a dot or is empty; `stage` is the module's last.
  static std::vector<ParameterSpec> Parameters(const ProjectorConfig& config,
                                               std::string_view prefix, int stage);

  // `parameters` outlives the projector. Errors: INVALID_ARGUMENT for an affine projector with a
  // norm, or when ffn_size, or output_size of an affine one, does not divide by the tensor-parallel
  // ranks; NOT_FOUND for parameters outside the store.
  static absl::StatusOr<Projector> Create(const ProjectorConfig& config, std::string_view prefix,
                                          ParameterStore& parameters, SequenceParallel sequence);

  // Returns [R, H], in the activation arena, padding rows zero; N = 0 is legal. The input stays as
  // it is until Backward. Evaluation leaves only the result in the arena.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView input_RD,
                                     int64_t num_rows, Saved& saved) const;

  // `d_input_RD` is overwritten; null, or needs_input_gradient false: not wanted.
  absl::Status Backward(ModuleContext& context, const Saved& kept, ConstTensorView d_output_RH,
                        TensorView d_input_RD) const;

 private:
  // `kept` with what selective_recompute left out.
  absl::StatusOr<Saved> Complete(ModuleContext& context, const Saved& kept) const;
  absl::Status ForwardAffine(ModuleContext& context, const Saved& saved,
                             TensorView output_RH) const;
  absl::Status BackwardAffine(ModuleContext& context, const Saved& saved,
                              ConstTensorView d_output_RH, TensorView d_input_RD) const;

  ProjectorConfig config_;
  SequenceParallel sequence_;
  Parameter* norm_weight_D_ = nullptr;
  ColumnLinear fc1_;  // of the affine projector the only layer, a rank's rows of [H, D]
  RowLinear fc2_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_H_
