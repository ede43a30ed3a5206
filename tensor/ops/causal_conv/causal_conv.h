#ifndef HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_H_
#define HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_H_

// Depthwise causal convolution over time with bias and SiLU, channels last: the short convolution
// of Mamba-2 (Dao and Gu, arXiv:2405.21060, section 7).
//
//   pre[t,c] = bias[c] + sum_j weight[c,j] x[t-K+1+j,c],   out = pre * sigmoid(pre)
//
// where a tap counts only when its token belongs to the sequence of token t.
// Shape letters: T tokens, C channels, K taps (1 to 4). Token-major views may be column slices of
// wider matrices. All inputs and outputs have one dtype, parameter gradients its compute type.
//
// Floor: forward reads x and writes out; backward reads x and d_out and writes d_x. Backward
// computes the pre-activation again instead of reading a saved one.

#include "absl/status/status.h"
#include "hetero/tensor/ops/row_parts.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct CausalConvInputs {
  ConstTensorView x_TC;
  ConstTensorView weight_CK;
  ConstTensorView bias_C;  // null: none
  SequenceBatch sequences;
};

struct CausalConvGradients {
  TensorView d_x_TC;        // must not overlap any input
  TensorView d_weight_CK;   // dense; null: not wanted
  TensorView d_bias_C;      // dense; null: not wanted
  bool accumulate = false;  // add to the parameter gradients instead of overwriting them
};

// Errors: INVALID_ARGUMENT for operands that do not fit.
absl::Status CausalConvForward(const CausalConvInputs& inputs, TensorView out_TC, Stream& stream);

// `inputs` as forward had them. Errors: INVALID_ARGUMENT for operands that do not fit.
absl::Status CausalConvBackward(const CausalConvInputs& inputs, ConstTensorView d_out_TC,
                                const CausalConvGradients& gradients, Stream& stream);

namespace internal {

// Preconditions: validated operands. Scratch of the CPU is [taps, channels] of the compute type, so
// that all loops run along channels, with a row more where there is no bias.
absl::Status CausalConvForwardCpu(const CausalConvInputs& inputs, const TensorView& out_TC,
                                  const TensorView& weight_KC);
// ring_KC holds the pre-activation gradients of the K newest tokens of the backward walk; row K of
// sums_KC is the bias gradient.
absl::Status CausalConvBackwardCpu(const CausalConvInputs& inputs, const ConstTensorView& d_out_TC,
                                   const CausalConvGradients& gradients,
                                   const TensorView& weight_KC, const TensorView& ring_KC,
                                   const TensorView& sums_KC);

// Tokens that a GPU's thread walks: many for each of the K - 1 that its neighbour reads too.
inline RowParts CausalConvParts(const CausalConvInputs& inputs) {
  return RowParts(inputs.x_TC.dim(0), /*min_rows_per_part=*/128);
}
absl::Status CausalConvForwardCuda(const CausalConvInputs& inputs, const TensorView& out_TC,
                                   Stream& stream);
// `partials_PSC` f32 [parts, K + 1, C]: scratch; null where no parameter gradient is wanted.
absl::Status CausalConvBackwardCuda(const CausalConvInputs& inputs, const ConstTensorView& d_out_TC,
                                    const CausalConvGradients& gradients,
                                    const TensorView& partials_PSC, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_H_
