#ifndef HETERO_TENSOR_OPS_ATTENTION_TILED_CUDA_H_
#define HETERO_TENSOR_OPS_ATTENTION_TILED_CUDA_H_

// Attention in f32 arithmetic on a GPU: the correctness path, and the way of shapes that cuDNN does
// not take. Tiles of queries and keys meet in shared memory and no score reaches the device's
// memory. Floor: the FLOPs of the operation at the rate of f32 units; backward has 7 products of a
// pair where 5 would do, the price of summing each gradient in one place and a fixed order.

#include "absl/status/status.h"
#include "hetero/tensor/ops/attention/attention.h"

namespace hetero::internal {

// Largest head size: rows of a tile are in shared memory.
inline constexpr int64_t kMaxTiledHeadSize = 256;

// Preconditions: validated arguments of f32 or bf16, at most kMaxTiledHeadSize.
absl::Status AttentionForwardTiled(const AttentionForwardArgs& args, Stream& stream);

// `delta_HT`: f32 scratch, Σ o d_o of every row.
absl::Status AttentionBackwardTiled(const AttentionBackwardArgs& args, const TensorView& delta_HT,
                                    Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_TILED_CUDA_H_
