#ifndef HETERO_MODELS_BLOCKS_ATTENTION_ATTENTION_H_
#define HETERO_MODELS_BLOCKS_ATTENTION_ATTENTION_H_

// Residual block of causal grouped-query attention without positions or dropout:
//   hidden' = hidden + Attention(RMSNorm(hidden) Wqkvᵀ + bqkv) Woᵀ + bo,   by default without
//   biases.
//
// Shape letters: T tokens, R of them this rank's, H hidden, N = (heads + 2 groups) head_dim,
// K = heads head_dim, of this rank's heads. Rows of Wqkv lie by KV group: the queries of its heads,
// then its key, then its value (Megatron-LM's order).
//
// Tensor parallelism divides the groups; more ranks than groups divide the heads of a group, and
// each of them has the group's key and value.

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

struct AttentionConfig {
  int64_t hidden_size = 0;
  int64_t num_heads = 0;
  int64_t num_kv_groups = 0;
  int64_t head_dim = 0;
  bool use_bias = false;
  double norm_epsilon = 1e-5;
  double init_std = 0.02;
  double output_init_std = 0.02;
  DType storage = DType::kF32;

  int64_t heads_per_group() const { return num_heads / num_kv_groups; }
  int64_t qkv_width() const { return (num_heads + 2 * num_kv_groups) * head_dim; }
};

class AttentionBlock {
 public:
  struct Saved {
    ConstTensorView hidden_RH;
    SequenceBatch batch;
    TensorView rstd_R;
    TensorView normed_RH;  // null after a forward with selective_recompute
    TensorView qkv_TN;
    TensorView output_TK;
    TensorView lse;  // what the attention kernel keeps of its softmax
  };

  // The block's rows of the table; `prefix` is "decoder.layers.3.".
  static std::vector<ParameterSpec> Parameters(const AttentionConfig& config,
                                               std::string_view prefix);

  // Errors: INVALID_ARGUMENT when the heads do not divide over so many tensor-parallel ranks.
  static absl::Status CheckRanks(const AttentionConfig& config, std::string_view prefix,
                                 int64_t tensor_parallel_ranks);

  // `parameters` outlives the block. `tensor_parallel`: null where the group has one rank.
  // Errors: INVALID_ARGUMENT when the groups do not divide the heads, or the ranks that share a
  // group its heads; NOT_FOUND for parameters outside the store.
  static absl::StatusOr<AttentionBlock> Create(const AttentionConfig& config,
                                               std::string_view prefix, ParameterStore& parameters,
                                               Communicator* tensor_parallel);

  // Returns hidden', in the activation arena. `hidden_RH` and what `batch` points to stay as they
  // are until Backward.
  absl::StatusOr<TensorView> Forward(ModuleContext& context, ConstTensorView hidden_RH,
                                     const SequenceBatch& batch, Saved& saved) const;

  // Turns the gradient of hidden' into that of hidden, in place.
  absl::Status Backward(ModuleContext& context, const Saved& saved, TensorView d_hidden_RH) const;

 private:
  AttentionConfig local_;  // with the heads and groups of this rank
  Parameter* norm_weight_H_ = nullptr;
  ColumnLinear w_qkv_NH_;
  RowLinear w_out_HK_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_ATTENTION_ATTENTION_H_
