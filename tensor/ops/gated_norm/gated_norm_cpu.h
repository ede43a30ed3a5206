#ifndef HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_CPU_H_
#define HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_CPU_H_

#include "absl/status/status.h"
#include "hetero/tensor/ops/gated_norm/gated_norm.h"

namespace hetero::internal {

// Preconditions: validated operands. `gate` has room for two groups of channels, `weight_sum_I` for
// all channels, both of the compute type.
absl::Status GatedNormForwardCpu(const GatedNormInputs& inputs, TensorView out_TI);
absl::Status GatedNormBackwardCpu(const GatedNormInputs& inputs, ConstTensorView d_out_TI,
                                  const GatedNormGradients& gradients, TensorView gate,
                                  TensorView weight_sum_I);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_GATED_NORM_GATED_NORM_CPU_H_
