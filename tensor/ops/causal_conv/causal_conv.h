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
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct CausalConvInputs {
  ConstTensorView x_TC;
  ConstTensorView weight_CK;
  ConstTensorView bias_C;
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

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_H_
