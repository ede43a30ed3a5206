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

#include "absl/status/status.h"
#include "hetero/base/rounding.h"
#include "hetero/tensor/ops/attention/attention_shape.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Rows of qkv, o and their gradients may have gaps. `lse` is dense, in the compute dtype.
//
// A GPU takes f32 and bf16 and heads of up to 256. In bf16, heads of a multiple of 8 up to 128
// whose rows lie on 16-byte boundaries go to cuDNN, but on compute capability 9.0 heads of 80 and
// 128 to kernels of our own (hopper_forward.h, hopper_backward.h); everything else goes to f32
// arithmetic (tiled_cuda.h). Floor of the first two: their FLOPs on tensor cores. Probabilities and
// their gradients are rounded to bf16 where they enter a product; with cuDNN so are the parts of a
// key's gradient that come from several heads or calls before they are summed in f32.
//
// Workspace of the own kernels: 12 bytes for every token in forward; in backward 4 D + 12 for every
// token and query head, and 24 for every token. cuDNN's deterministic backward keeps the gradients
// of all scores of a call: its workspace stays below 1 GiB because it runs in several calls
// (head_batches.h), but a causal head of more than 22,000 rows needs more. A dry run counts for
// compute capability 9.0.
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
// Rows of scratch are padded to whole vectors of any element type, which the compiler can see:
// loops up to there have no scalar remainder.
inline constexpr int64_t kAttentionPad = 16;
constexpr int64_t PaddedForAttention(int64_t n) { return RoundUp(n, kAttentionPad); }

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

// Of hopper_backward.h, whose sizes it has; all null where another backward runs.
struct HopperBackwardScratch {
  TensorView d_query_HTD;     // f32: sums of tiles
  TensorView statistics_HT2;  // f32: lse and Σ o d_o
  TensorView turns_X;         // i32: how many tiles a block has, and the next of the list
  TensorView tiles_TX;        // i32: the list

  bool is_null() const { return d_query_HTD.is_null(); }
};

// Of the CUDA side; null what it does without.
struct AttentionCudaScratch {
  TensorView forward_list_X;  // i32, hopper_forward.h's list; not null where that runs
  TensorView delta_HT;        // tiled kernels, backward: Σ o d_o of each row
  TensorView index_LXB;       // cuDNN, i64: lengths and offsets of the entries of each lane's call
  TensorView partial_TX;      // cuDNN, backward: gradients of keys and values to be summed
  TensorView library;         // cuDNN's workspace; not null where cuDNN runs
  HopperBackwardScratch hopper;
};

// Preconditions: validated arguments, f32 or f64.
absl::Status AttentionForwardCpu(const AttentionForwardArgs& args,
                                 const AttentionForwardScratch& scratch);
absl::Status AttentionBackwardCpu(const AttentionBackwardArgs& args,
                                  const AttentionBackwardScratch& scratch);

// Preconditions: validated arguments, at least one token.
absl::Status AttentionForwardCuda(const AttentionForwardArgs& args,
                                  const AttentionCudaScratch& scratch, Stream& stream);
absl::Status AttentionBackwardCuda(const AttentionBackwardArgs& args,
                                   const AttentionCudaScratch& scratch, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ATTENTION_ATTENTION_H_
