#ifndef HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_H_
#define HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_H_

// Attention forward in bf16 on the tensor cores of compute capability 9.0, for heads of 80 and 128.
//
// Work is the list of forward_tiles.h. Groups of four warps, three of them or for heads of 128 two,
// have 64 queries each, with the sums of their output and of their probabilities in registers; one
// warp loads keys and values ahead of them, 112 or 128 in a step: what registers allow. While a
// group takes exponentials, the tensor cores have products of its step before and of the others.
// Probabilities are rounded to bf16 where they meet values, sums are f32 in the order of the keys,
// so that a row's bits depend on its segment only.
//
// Floor: 4 D operations for every pair of a query and a key it sees, on tensor cores, and one
// exponential.
//
// Values of other segments in a step are read, and count only if they are not finite: a NaN or an
// infinity may reach the segment in front of its own.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/ops/attention/attention.h"
#include "hetero/tensor/ops/attention/forward_tiles.h"
#include "hetero/tensor/stream.h"

namespace hetero::internal {

// Forward and hopper_backward.h.
constexpr bool SuitsHopperKernels(int64_t head_size) { return head_size == 80 || head_size == 128; }

// Elements of the list, with what counts it, over all ways to cut `tokens` into segments.
constexpr int64_t HopperForwardInts(int64_t tokens) {
  return tokens * static_cast<int64_t>(sizeof(ForwardTile) / sizeof(int32_t)) + 1;
}

// Preconditions: validated arguments in bf16, at least one token, a head size that suits, rows on
// 16-byte boundaries, such a device. Errors: INTERNAL; FAILED_PRECONDITION for an old driver.
absl::Status AttentionForwardHopper(const AttentionForwardArgs& args, const TensorView& list_X,
                                    Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HOPPER_FORWARD_H_
