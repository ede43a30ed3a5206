#ifndef HETERO_TENSOR_OPS_ATTENTION_ATTENTION_H_
#define HETERO_TENSOR_OPS_ATTENTION_ATTENTION_H_

// Softmax attention with grouped query heads over sequences packed in one buffer. Probabilities
// are never kept: backward recomputes them from the saved log-sum-exp (Dao et al. 2022,
// FlashAttention, algorithms 1 and 4).
//
// Shape letters: T tokens of all segments, G groups, R query heads of a group, D head size,
// H = G R query heads.
//
// A row of `qkv` [T, G (R + 2) D] holds for every group its R query heads, then its key, then its
// value. With R = 1 that is the order q|k|v of every head. A row of `o` [T, G R D] holds the heads
// in the same order.
//
// Segment s is the rows [segments[s], segments[s+1]); the first offset is 0, the last is T, equal
// neighbours are an empty segment. A token attends to its segment, if `causal` to itself and what
// precedes it there. Sums run in a fixed order.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct AttentionShape {
  int64_t num_groups = 0;
  int64_t heads_per_group = 0;
  int64_t head_size = 0;
  std::span<const int32_t> segments;  // on the host
  bool causal = false;
  double scale = 0;  // of the scores, 1/√D as a rule
};

// Rows of qkv, o and their gradients may have gaps. `lse` is dense, in the compute dtype.
struct AttentionForwardArgs {
  AttentionShape shape;
  ConstTensorView qkv;
  TensorView o;
  TensorView lse_HT;  // log Σ exp of the scaled scores, for backward
};

// Flops: 4 D for every pair of a query head and a key it sees.
// Errors: INVALID_ARGUMENT naming the operand; RESOURCE_EXHAUSTED for the workspace.
absl::Status AttentionForward(const AttentionForwardArgs& args, Stream& stream);

struct AttentionBackwardArgs {
  AttentionShape shape;
  ConstTensorView qkv;
  ConstTensorView o;
  ConstTensorView lse_HT;
  ConstTensorView d_o;
  TensorView d_qkv;  // every element is overwritten
};

// Flops: 10 D for every pair, the recomputed scores among them. Errors: as forward.
absl::Status AttentionBackward(const AttentionBackwardArgs& args, Stream& stream);

namespace internal {

// Rows of queries that share a pass over the keys.
inline constexpr int64_t kAttentionQueryRows = 16;
// Rows of scratch are padded to whole vectors of any element type.
inline constexpr int64_t kAttentionPad = 16;

// L: tokens of the longest segment; Lp at least L and Dp at least D, multiples of kAttentionPad.
struct AttentionForwardScratch {
  TensorView key_DLp;
  TensorView value_LDp;
  TensorView score_QLp;
  TensorView out_QDp;
};

struct AttentionBackwardScratch {
  TensorView key_DLp;
  TensorView value_DLp;
  TensorView key_LDp;
  TensorView d_key_LDp;
  TensorView d_value_LDp;
  TensorView probability_QLp;
  TensorView d_score_QLp;
  TensorView query_QDp;
  TensorView d_out_QDp;
  TensorView d_query_QDp;
};

// Preconditions: validated arguments, f32 or f64.
absl::Status AttentionForwardCpu(const AttentionForwardArgs& args,
                                 const AttentionForwardScratch& scratch);
absl::Status AttentionBackwardCpu(const AttentionBackwardArgs& args,
                                  const AttentionBackwardScratch& scratch);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ATTENTION_ATTENTION_H_
