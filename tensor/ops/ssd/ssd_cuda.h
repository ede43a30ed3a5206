#ifndef HETERO_TENSOR_OPS_SSD_SSD_CUDA_H_
#define HETERO_TENSOR_OPS_SSD_SSD_CUDA_H_

// The GPU's side of the scan, as the host sees it. Every Q x Q, Q x N and Q x P matrix of a chunk
// is a tile of fixed extents in shared memory or registers; smaller extents are padded with zeros.
//
//   steps            dt, cumulative sums and factors of every token and head
//   states           forward over the chunks of a row: the states that enter chunks
//   output           y, a group's C B^T computed once for all its heads
//
//   steps, state gradients (the same kernel, in reverse)
//   input gradients  d_x and what the steps need; d(C B^T), summed over a group's heads
//   projections      d_b and d_c, summed over a group's heads
//   step gradients   d_dt_raw and the parameters' partial sums
//
// In bf16 the operands of products are rounded once (states, their gradients, rows times decay
// factors, the masked C B^T and its gradient), all sums are f32.
//
// Beside the floor of ssd.h, in elements: forward reads x, B and the states once more, T (I + S +
// I N / Q); backward reads x, d_y, B and C once more, writes and twice reads the states' gradients
// and the Q x Q gradients of a group, and reads the states twice, T (2 I + 2 S + 4 I N / Q + 3 G
// Q). Products: those of ScanFlops in ssd.cc, and in backward C B^T again.

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/ops/ssd/ssd.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero::internal {

// Extents of tiles, multiples of 32.
struct SsdTile {
  int chunk;
  int head_dim;
  int state_size;

  // The blocks of a state [head_dim, state_size]: whole columns; and their warps: 16 x 32 elements.
  constexpr int state_block_columns() const { return std::min(state_size, 64); }
  constexpr int num_state_warps() const { return head_dim / 16 * (state_block_columns() / 32); }
  constexpr int num_state_blocks() const { return state_size / state_block_columns(); }
  constexpr int num_state_parts() const { return num_state_blocks() * num_state_warps(); }

  constexpr bool operator==(const SsdTile&) const = default;
  constexpr bool Holds(const SsdShape& shape) const {
    return shape.chunk_length <= chunk && shape.head_dim <= head_dim &&
           shape.state_size <= state_size;
  }
};

inline constexpr SsdTile kSmallSsdTile = {32, 32, 32};
inline constexpr SsdTile kLargeSsdTile = {128, 64, 128};

constexpr SsdTile SsdTileOf(const SsdShape& shape) {
  return kSmallSsdTile.Holds(shape) ? kSmallSsdTile : kLargeSsdTile;
}

// Errors: INVALID_ARGUMENT naming the extent that no tile holds and the largest one that fits.
absl::Status ExpectSsdTile(const SsdShape& shape);

// Of each token and head, as rows of a tile's chunk in this order. Beyond a chunk's tokens: dt,
// kSsdToEnd and kSsdIntoState are zero, the others repeat the last token's value.
enum SsdStep {
  kSsdDt,             // softplus(dt_raw + dt_bias) between the limits
  kSsdCumulative,     // sum of dt A since the chunk's start, rounded to f32; for bf16 over log 2
  kSsdCumulativeLow,  // what that rounding left
  kSsdToEnd,          // decay from the token to the chunk's end, 0 if its sequence ends before
  kSsdIntoState,      // dt kSsdToEnd
  kSsdFromStart,      // decay from the chunk's start to the token, 0 if its sequence starts after
  kNumSsdSteps,
};

// Likewise, for backward.
enum SsdTokenSum {
  kSsdDirect,    // gradient of dt where it scales the input
  kSsdFlow,      // what the gradient of dt A loses and gains at the token, see ssd_backward_cuda.cu
  kSsdSkip,      // d_y x
  kSsdEntering,  // d_y times what the entering state gave, of half of the state's rows' elements
  kSsdEnteringFar,  // and of the other half
  kNumSsdTokenSums,
};

// Gradients of dt_bias, a_log, skip.
inline constexpr int kNumSsdParameters = 3;

struct SsdCudaWorkspace {
  // Precondition of both: ExpectSsdTile. `states`: what the caller keeps, or null.
  static absl::StatusOr<SsdCudaWorkspace> ForForward(const SsdInputs& inputs, TensorView states,
                                                     Arena& arena);
  static absl::StatusOr<SsdCudaWorkspace> ForBackward(const SsdInputs& inputs, Arena& arena);

  TensorView steps;            // f32 [chunks, H, kNumSsdSteps, tile chunk]
  TensorView first;            // i32 [chunks, tile chunk]: latest start of a sequence; -1: none
  TensorView states;           // SsdStatesDims: entering states
  TensorView state_gradients;  // SsdStatesDims
  TensorView d_cb;             // [chunks, G, tile chunk, tile chunk]: row k, column m
  TensorView token_sums;       // f32 [chunks, H, kNumSsdTokenSums, tile chunk]
  TensorView state_sums;       // f32 [chunks, H, parts of a state]
  TensorView partials;         // f32 [chunks, kNumSsdParameters * H]
};

absl::Status SsdForwardCuda(const SsdInputs& inputs, const TensorView& y_TI,
                            const SsdCudaWorkspace& workspace, Stream& stream);
absl::Status SsdBackwardCuda(const SsdInputs& inputs, const ConstTensorView& states,
                             const ConstTensorView& d_y_TI, const SsdGradients& gradients,
                             const SsdCudaWorkspace& workspace, Stream& stream);

// What the two calls above are made of, each in a source of its own.
absl::Status SsdStepsCuda(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                          Stream& stream);
// Into workspace.states.
absl::Status SsdStatesCuda(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                           Stream& stream);
// Into workspace.state_gradients and state_sums.
absl::Status SsdStateGradientsCuda(const SsdInputs& inputs, const ConstTensorView& states,
                                   const ConstTensorView& d_y_TI, const SsdCudaWorkspace& workspace,
                                   Stream& stream);
// From the sums in `workspace`.
absl::Status SsdStepGradientsCuda(const SsdInputs& inputs, const SsdGradients& gradients,
                                  const SsdCudaWorkspace& workspace, Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_SSD_CUDA_H_
