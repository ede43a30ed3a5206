#ifndef HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_CPU_H_
#define HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_CPU_H_

#include "absl/status/status.h"
#include "hetero/tensor/ops/causal_conv/causal_conv.h"

namespace hetero::internal {

// Preconditions: validated operands. Scratch layouts are [taps, channels] of the compute type, so
// that all loops run along channels.
absl::Status CausalConvForwardCpu(const CausalConvInputs& inputs, TensorView out_TC,
                                  TensorView weight_KC);
// ring_KC holds the pre-activation gradients of the K newest tokens of the backward walk; row K of
// sums_KC is the bias gradient.
absl::Status CausalConvBackwardCpu(const CausalConvInputs& inputs, ConstTensorView d_out_TC,
                                   const CausalConvGradients& gradients, TensorView weight_KC,
                                   TensorView ring_KC, TensorView sums_KC);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_CAUSAL_CONV_CAUSAL_CONV_CPU_H_
