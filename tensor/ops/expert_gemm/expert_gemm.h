#ifndef HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_GEMM_H_
#define HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_GEMM_H_

// The products of one linear layer per expert, over rows sorted by expert: expert e owns rows
// [offsets[e], offsets[e + 1]) of the row operands and matrix e of the weight operand.
//
// E experts, R rows, K input and N output features; all tensors dense and of one dtype, offsets
// i32[E + 1] ascending from 0 to R. An expert without rows is legal.
// Errors: INVALID_ARGUMENT naming the operand whose shape or dtype does not fit.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// y = x w_eᵀ.
absl::Status ExpertLinearForward(const ConstTensorView& x_RK, const ConstTensorView& w_ENK,
                                 const ConstTensorView& offsets_E1, const TensorView& y_RN,
                                 Stream& stream);

// dx = dy w_e.
absl::Status ExpertLinearBackwardInput(const ConstTensorView& dy_RN, const ConstTensorView& w_ENK,
                                       const ConstTensorView& offsets_E1, const TensorView& dx_RK,
                                       Stream& stream);

// dw_e = dyᵀ x over the rows of e, added to dw if `accumulate`. Without, an expert that has no rows
// gets zeros.
absl::Status ExpertLinearBackwardWeight(const ConstTensorView& dy_RN, const ConstTensorView& x_RK,
                                        const ConstTensorView& offsets_E1, const TensorView& dw_ENK,
                                        bool accumulate, Stream& stream);

}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_EXPERT_GEMM_EXPERT_GEMM_H_
