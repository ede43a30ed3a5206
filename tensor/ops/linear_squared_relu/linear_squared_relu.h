#ifndef HETERO_TENSOR_OPS_LINEAR_SQUARED_RELU_LINEAR_SQUARED_RELU_H_
#define HETERO_TENSOR_OPS_LINEAR_SQUARED_RELU_LINEAR_SQUARED_RELU_H_

// A linear layer's products and the squared ReLU behind them (activation.h), which on tensor cores
// of compute capability 9.0 is made where the sums are stored: a product of bf16 whose features are
// multiples of 8. The numbers are those of the product, rounded, and the activation one after the
// other.
//
// T rows, K input and N output features; all tensors dense and of one dtype. Floors: 2 T K N
// operations; every operand once. A GPU takes the scratch of gemm.h.
// Errors: INVALID_ARGUMENT naming the operand whose shape or dtype does not fit.

#include "absl/status/status.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// y = x wᵀ, a = max(y, 0)².
absl::Status LinearSquaredRelu(const ConstTensorView& x_TK, const ConstTensorView& w_NK,
                               const TensorView& y_TN, const TensorView& a_TN, Stream& stream);

// df = 2 max(f, 0) (dy w), with w of the layer behind the activation.
absl::Status LinearSquaredReluBackward(const ConstTensorView& dy_TN, const ConstTensorView& w_NK,
                                       const ConstTensorView& f_TK, const TensorView& df_TK,
                                       Stream& stream);

namespace internal {

// A product and what is made of its result: either `activated` beside it or, from `f`, its gradient
// in its place.
struct SquaredReluProduct {
  GemmArgs gemm;
  TensorView activated;
  ConstTensorView f;
};

absl::Status SquaredReluProductCpu(const SquaredReluProduct& product);
absl::Status SquaredReluProductCuda(const SquaredReluProduct& product, const TensorView& scratch,
                                    Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_LINEAR_SQUARED_RELU_LINEAR_SQUARED_RELU_H_
