#ifndef HETERO_TENSOR_OPS_SSD_SSD_HOPPER_H_
#define HETERO_TENSOR_OPS_SSD_SSD_HOPPER_H_

// The scan in bf16 on the tensor cores of compute capability 9.0, for whole large tiles. It shares
// ssd_cuda.h's workspace, steps and step gradients. Loads are tensor copies by a warp of their own,
// products those of groups of four warps.
//
//   states           as in ssd_cuda.h, a block for a head and half of a state's columns
//   output           y
//
//   state gradients  states in reverse
//   input gradients  d_x, d_b, d(C B^T) and what the steps need, a block for a chunk and group
//   d_c              and what the steps need of the entering states
//
// x, d_y and the state's gradients are read once for d_x, d_b and d(C B^T), so in elements backward
// reads x, C, B once more, d_y and the states twice, writes and twice reads the states' gradients.

#include <initializer_list>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/ops/ssd/ssd_cuda.h"

namespace hetero::internal {

// Whether the kernels below take this call: their tile's extents exactly, bf16, aligned operands
// (`others` too), and such a device. Errors: INTERNAL.
absl::StatusOr<bool> SuitsHopperSsd(const SsdInputs& inputs,
                                    std::initializer_list<ConstTensorView> others, Stream& stream);

// Those of ssd_cuda.h, for what suits.
absl::Status SsdStatesHopper(const SsdInputs& inputs, const SsdCudaWorkspace& workspace,
                             Stream& stream);
absl::Status SsdOutputHopper(const SsdInputs& inputs, const TensorView& y_TI,
                             const SsdCudaWorkspace& workspace, Stream& stream);
absl::Status SsdStateGradientsHopper(const SsdInputs& inputs, const ConstTensorView& states,
                                     const ConstTensorView& d_y_TI,
                                     const SsdCudaWorkspace& workspace, Stream& stream);
// d_x, d_b, workspace.d_cb and of its token sums all but those of entering states.
absl::Status SsdInputGradientsHopper(const SsdInputs& inputs, const ConstTensorView& d_y_TI,
                                     const SsdGradients& gradients,
                                     const SsdCudaWorkspace& workspace, Stream& stream);
// d_c and the token sums of entering states.
absl::Status SsdReadingGradientsHopper(const SsdInputs& inputs, const ConstTensorView& states,
                                       const ConstTensorView& d_y_TI, const SsdGradients& gradients,
                                       const SsdCudaWorkspace& workspace, Stream& stream);

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_SSD_SSD_HOPPER_H_
