#ifndef HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_H_
#define HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_H_

// From features of an encoder to the width of the language model, without biases:
//   affine  y = x Wᵀ
//   mlp     y = relu(u W1ᵀ)² W2ᵀ,  u = x or RMSNorm(x)
// Shape letters: N rows, D input width, F inner width, H output width.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
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
  struct Saved {
    ConstTensorView input_ND;
    TensorView rstd_N;
    ConstTensorView normed_ND;  // the input without a norm
    TensorView inner_NF;
    TensorView activated_NF;
  };

  // `prefix` ends with a dot or is empty; `stage` is the module's last.
  static std::vector<ParameterSpec> Parameters(const ProjectorConfig& config,
                                               std::string_view prefix, int stage);

  // `parameters` outlives the projector. Errors: INVALID_ARGUMENT for an affine projector with a
  // norm; NOT_FOUND for parameters outside the store; UNIMPLEMENTED with tensor parallelism
  // (non-null communicator).
  static absl::StatusOr<Projector> Create(const ProjectorConfig& config, std::string_view prefix,
                                          ParameterStore& parameters,
                                          Communicator* tensor_parallel);

  // Returns [N, H], in the activation arena; N = 0 is legal. The input stays as it is until
  // Backward. Evaluation leaves only the result in the arena.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView input_ND,
                                     Saved& saved) const;

  // `d_input_ND` is overwritten; null, or needs_input_gradient false: not wanted.
  absl::Status Backward(ModuleContext& context, const Saved& saved, ConstTensorView d_output_NH,
                        TensorView d_input_ND) const;

 private:
  ProjectorConfig config_;
  Parameter* norm_weight_D_ = nullptr;
  Parameter* w1_FD_ = nullptr;  // of the affine projector the only layer, [H, D]
  Parameter* w2_HF_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_PROJECTOR_PROJECTOR_H_
