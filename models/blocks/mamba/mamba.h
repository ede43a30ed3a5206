#ifndef HETERO_MODELS_BLOCKS_MAMBA_MAMBA_H_
#define HETERO_MODELS_BLOCKS_MAMBA_MAMBA_H_

// Residual block of a Mamba-2 mixer (Dao and Gu, arXiv:2405.21060, section 7):
//
//   z | x B C | dt = RMSNorm(hidden) Winᵀ,   x | B | C = SiLU(conv(x B C)),   y = scan(x, B, C, dt)
//   hidden' = hidden + GroupedRMSNorm(y SiLU(z)) Woutᵀ
//
// By default the convolution has a bias and the two projections have none.
//
// Shape letters: T tokens, R of them this rank's, H hidden, I = heads head_dim, S = groups
// state_size, C = I + 2 S convolution channels, N = 2 I + 2 S + heads rows of Win in the order
// z, x, B, C, dt; heads and groups are this rank's.
//
// Between the two projections the block needs the whole sequence and any subset of heads with their
// groups, so tensor parallelism divides groups: it gathers the normed stream before Win and
// reduce-scatters after Wout, and each of the blocks z, x, B, C, dt is cut by itself.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/context.h"
#include "hetero/models/blocks/parallel_linear.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/ops/causal_conv/causal_conv.h"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"
#include "hetero/tensor/ops/ssd/ssd.h"
#include "hetero/tensor/sequence_batch.h"

namespace hetero {

struct MambaConfig {
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t num_groups = 0;  // divides num_heads
  int64_t state_size = 0;
  int64_t conv_kernel = 4;  // taps
  int64_t chunk_size = 0;   // tokens of a chunk of the scan
  bool conv_bias = true;
  bool use_bias = false;  // of the two projections
  SsdStepLimits steps;    // dt behind its softplus is brought between them
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;

  int64_t inner_width() const { return num_heads * head_dim; }
  int64_t group_width() const { return num_groups * state_size; }
  int64_t conv_width() const { return inner_width() + 2 * group_width(); }
  int64_t in_proj_width() const { return inner_width() + conv_width() + num_heads; }
};

class MambaBlock {
 public:
  // Null after a forward with selective_recompute: normed_RH, conv_TC, gated_TI.
  struct Saved {
    ConstTensorView hidden_RH;
    SequenceBatch batch;
    TensorView rstd_R;
    TensorView normed_RH;
    TensorView projected_TN;  // z, x, B, C, dt before the convolution
    TensorView conv_TC;       // x, B, C after it
    TensorView scan_TI;
    TensorView states;  // of the scan; null in evaluation
    TensorView gated_TI;
  };

  // The block's rows of the table; `prefix` is "decoder.layers.3.".
  static std::vector<ParameterSpec> Parameters(const MambaConfig& config, std::string_view prefix);

  // Errors: INVALID_ARGUMENT when the groups do not divide over so many tensor-parallel ranks.
  static absl::Status CheckRanks(const MambaConfig& config, std::string_view prefix,
                                 int64_t tensor_parallel_ranks);

  // `parameters` outlives the block. `tensor_parallel`: null where the group has one rank.
  // Errors: INVALID_ARGUMENT when the groups do not divide the heads, or the ranks the groups;
  // NOT_FOUND for parameters outside the store.
  static absl::StatusOr<MambaBlock> Create(const MambaConfig& config, std::string_view prefix,
                                           ParameterStore& parameters,
                                           Communicator* tensor_parallel);

  // Returns hidden', in the activation arena. `hidden_RH` and what `batch` points to stay as they
  // are until Backward.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_RH,
                                     const SequenceBatch& batch, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& kept, TensorView d_hidden_RH) const;

 private:
  // Columns of a [T, N] or [T, C] matrix.
  template <typename View>
  View Gate(const View& projected_TN) const {
    return projected_TN.Columns(0, local_.inner_width());
  }
  template <typename View>
  View ConvColumns(const View& projected_TN) const {
    return projected_TN.Columns(local_.inner_width(), local_.conv_width());
  }
  template <typename View>
  View StepColumns(const View& projected_TN) const {
    return projected_TN.Columns(local_.inner_width() + local_.conv_width(), local_.num_heads);
  }
  template <typename View>
  View ScanInput(const View& conv_TC) const {
    return conv_TC.Columns(0, local_.inner_width());
  }
  // 0: B, 1: C.
  template <typename View>
  View ScanGroups(const View& conv_TC, int which) const {
    return conv_TC.Columns(local_.inner_width() + which * local_.group_width(),
                           local_.group_width());
  }

  // `kept` with what selective_recompute left out.
  absl::StatusOr<Saved> Complete(ModuleContext& context, const Saved& kept) const;

  CausalConvInputs ConvInputs(const Saved& saved) const;
  SsdInputs ScanInputs(const Saved& saved) const;
  GatedNormInputs NormInputs(const Saved& saved) const;

  MambaConfig local_;  // with the heads and groups of this rank
  Parameter* norm_weight_H_ = nullptr;
  ColumnLinear w_in_NH_;
  Parameter* conv_weight_ = nullptr;  // [C, 1, taps]
  Parameter* conv_bias_C_ = nullptr;  // null: none
  Parameter* dt_bias_ = nullptr;
  Parameter* a_log_ = nullptr;
  Parameter* skip_ = nullptr;
  Parameter* gated_norm_weight_I_ = nullptr;
  RowLinear w_out_HI_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MAMBA_MAMBA_H_
