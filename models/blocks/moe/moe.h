#ifndef HETERO_MODELS_BLOCKS_MOE_MOE_H_
#define HETERO_MODELS_BLOCKS_MOE_MOE_H_

// Residual block of routed experts and one shared expert, squared ReLU, no biases, dropless:
//   x = RMSNorm(hidden),
//   hidden' = hidden + sum over the chosen experts of (relu(x W1_eᵀ)² p_e) W2_eᵀ
//                    + relu(x Ws1ᵀ)² Ws2ᵀ.
// The probability weighs the activation, so the sum over experts is plain. Router, probabilities
// and balance loss: tensor/ops/router/router.h.
//
// Padding is not routed: it has no rows, takes no part in the balance loss and is counted nowhere.
//
// Shape letters: T tokens, H hidden, E experts, K chosen a token, R rows, K times the tokens that
// are no padding, F expert width, S shared width, B rows of the batch.

#include <cstdint>
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

struct MoeConfig {
  int64_t hidden_size = 0;
  int64_t num_experts = 0;
  int64_t top_k = 0;
  int64_t ffn_size = 0;
  int64_t shared_ffn_size = 0;
  double router_scaling = 1;
  double aux_loss_coefficient = 0;
  double expert_bias_rate = 0;
  bool force_load_balancing = false;  // experts in turn instead of the router's choice
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;
};

// Where a block counts, over the microbatches of a step; owned by the caller, zero at a step's
// start. Training forwards add, evaluation and recomputation do not.
struct MoeStatistics {
  TensorView tokens_per_expert_E;  // i64
  // Compute type: sum over sequences of tokens times loss / coefficient, which is 1 for an even
  // load.
  TensorView balance_loss_1;
};

class MoeBlock {
 public:
  struct Saved {
    ConstTensorView hidden_TH;
    TensorView rstd_T;
    TensorView normed_TH;
    TensorView logits_TE;
    TensorView experts_TK;     // i32, ascending; -1 for padding
    TensorView aux_counts_BE;  // i32; null without balance loss
    TensorView offsets_E1;     // i32
    TensorView rows_TK;        // i32; -1 for padding
    TensorView tokens_R;       // i32
    TensorView probs_R;
    TensorView inputs_RH;
    TensorView inner_RF;
    TensorView activated_RF;
    TensorView shared_inner_TS;
    TensorView shared_activated_TS;
  };

  // The block's rows of the table; `prefix` is "decoder.layers.3.". Experts are one [E, F, H] and
  // one [E, H, F] tensor, the expert bias a buffer.
  static std::vector<ParameterSpec> Parameters(const MoeConfig& config, std::string_view prefix);

  // `parameters` outlives the block. Communicators are null where the group has one rank.
  // Errors: INVALID_ARGUMENT when top_k is not in [1, num_experts]; NOT_FOUND for parameters
  // outside the store; UNIMPLEMENTED with tensor or expert parallelism.
  static absl::StatusOr<MoeBlock> Create(const MoeConfig& config, std::string_view prefix,
                                         ParameterStore& parameters, MoeStatistics statistics,
                                         Communicator* tensor_parallel,
                                         Communicator* expert_parallel);

  // Returns hidden', in the activation arena. `hidden_TH` stays as it is until Backward. Evaluation
  // leaves only the result in the arena.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_TH,
                                     const SequenceBatch& batch, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place. The gradient includes that of the
  // balance loss, each sequence's weighted with its tokens: one division of all gradients by the
  // number of loss tokens follows.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_hidden_TH) const;

  // Once a step, after the counts are summed over the ranks that share the bias: moves the bias
  // towards an even load and zeroes the counts.
  absl::Status UpdateExpertBias(Stream& stream) const;

 private:
  absl::Status Route(ModuleContext& context, const SequenceBatch& batch, Saved& saved) const;
  absl::Status RouteBackward(ModuleContext& context, const Saved& saved, ConstTensorView d_probs_R,
                             TensorView d_normed_TH) const;
  absl::Status SharedBackward(ModuleContext& context, const Saved& saved, ConstTensorView d_out_TH,
                              TensorView d_normed_TH) const;
  absl::Status AddExpertWeightGradient(ModuleContext& context, ConstTensorView dy,
                                       ConstTensorView x, const Saved& saved,
                                       Parameter& weight) const;

  MoeConfig config_;
  MoeStatistics statistics_;
  Parameter* norm_weight_H_ = nullptr;
  Parameter* router_EH_ = nullptr;
  Parameter* expert_bias_E_ = nullptr;
  Parameter* w1_EFH_ = nullptr;
  Parameter* w2_EHF_ = nullptr;
  Parameter* shared_w1_SH_ = nullptr;
  Parameter* shared_w2_HS_ = nullptr;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_MOE_H_
