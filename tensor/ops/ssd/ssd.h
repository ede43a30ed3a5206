#ifndef HETERO_TENSOR_OPS_SSD_SSD_H_
#define HETERO_TENSOR_OPS_SSD_SSD_H_

// The selective state-space scan of Mamba-2 in its chunked form (state-space duality: Dao and Gu,
// arXiv:2405.21060, section 6). Per head, with dt = softplus(dt_raw + dt_bias) brought between the
// limits of steps, A = -exp(a_log):
//
//   state_t = exp(dt_t A) state_{t-1} + dt_t x_t (x) B_t      state = 0 before each sequence
//   y_t     = state_t C_t + skip x_t
//
// Inside a chunk of Q tokens the recurrence becomes products of Q x Q and Q x N matrices; one state
// a chunk crosses the boundary. Chunks are cut by position in a row of the batch and never cross
// it; a last short chunk is allowed.
//
// Shape letters: T tokens, H heads, P head dim, I = H P, G groups, N state size, S = G N. Head h
// reads B and C of group h / (H / G). Token-major views may be column slices of wider matrices. All
// operands have one dtype, parameter gradients its compute type.
//
// Floor: forward reads x, B, C, dt_raw, writes y and the states; backward reads those and d_y and
// writes d_x, d_b, d_c, d_dt_raw. Q x Q matrices stay in the core's cache.

#include <array>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct SsdShape {
  int64_t num_heads;
  int64_t head_dim;
  int64_t num_groups;  // divides num_heads
  int64_t state_size;
  int64_t chunk_length;
};

// What is brought to a limit has no gradient.
struct SsdStepLimits {
  double min = 0;
  double max = std::numeric_limits<double>::infinity();

  bool limit() const { return min > 0 || max < std::numeric_limits<double>::infinity(); }
};

struct SsdInputs {
  SsdShape shape;
  SsdStepLimits steps = {};
  SequenceBatch sequences;
  ConstTensorView x_TI;
  ConstTensorView b_TS;
  ConstTensorView c_TS;
  ConstTensorView dt_raw_TH;
  ConstTensorView dt_bias_H;
  ConstTensorView a_log_H;
  ConstTensorView skip_H;
};

struct SsdGradients {
  // None may overlap an input.
  TensorView d_x_TI;
  TensorView d_b_TS;
  TensorView d_c_TS;
  TensorView d_dt_raw_TH;
  // Dense; null: not wanted.
  TensorView d_dt_bias_H;
  TensorView d_a_log_H;
  TensorView d_skip_H;
  bool accumulate = false;  // add to the parameter gradients instead of overwriting them
};

// Dims of the tensor, of the operands' dtype, in which forward leaves the states that enter chunks,
// for backward. Its layout belongs to the device's kernels.
std::array<int64_t, 4> SsdStatesDims(const SsdShape& shape, int64_t num_tokens, int64_t row_length,
                                     DType dtype);

// `states`: dense with SsdStatesDims, or null when no backward follows.
// Errors: INVALID_ARGUMENT for operands that do not fit, and on a GPU for a chunk of more than 128
// tokens, a head_dim above 64 or a state_size above 128; for limits of steps below zero or crossed.
absl::Status SsdForward(const SsdInputs& inputs, TensorView y_TI, TensorView states,
                        Stream& stream);

// `inputs` and `states` as forward had and left them.
// Errors: those of SsdForward.
absl::Status SsdBackward(const SsdInputs& inputs, ConstTensorView states, ConstTensorView d_y_TI,
                         const SsdGradients& gradients, Stream& stream);

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_SSD_SSD_H_
