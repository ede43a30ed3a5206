#include "hetero/tensor/ops/linear_squared_relu/linear_squared_relu.h"

#include <cstdint>

#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/activation/activation.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/gemm/matmul_cuda.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace internal {

absl::Status SquaredReluProductCpu(const SquaredReluProduct& product) {
  HETERO_RETURN_IF_ERROR(GemmCpu(product.gemm));
  const TensorView& c = product.gemm.c;
  return product.f.is_null() ? SquaredReluForwardCpu(c, {}, product.activated)
                             : SquaredReluBackwardCpu({.da_TF = c, .f_TF = product.f, .df_TF = c});
}

}  // namespace internal

namespace {

absl::Status Compute(const internal::SquaredReluProduct& product, Stream& stream) {
  const GemmArgs& gemm = product.gemm;
  ArenaScope scratch_scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView scratch, cuda::AllocateMatmulScratch(stream));
  const auto bytes =
      static_cast<double>(gemm.a.num_bytes() + gemm.b.num_bytes() + gemm.c.num_bytes() +
                          product.activated.num_bytes() + product.f.num_bytes());
  const double flops =
      2.0 * static_cast<double>(gemm.c.num_elements()) * static_cast<double>(gemm.a.dim(1));
  OperationScope scope(stream, {gemm.name, flops, bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SquaredReluProductCpu(product),
                         internal::SquaredReluProductCuda(product, scratch, stream));
}

}  // namespace

absl::Status LinearSquaredRelu(const ConstTensorView& x_TK, const ConstTensorView& w_NK,
                               const TensorView& y_TN, const TensorView& a_TN, Stream& stream) {
  const DType dtype = x_TK.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("x_TK", x_TK, dtype, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("w_NK", w_NK, dtype, {kAnyDim, x_TK.dim(1)}));
  const int64_t rows = x_TK.dim(0), outputs = w_NK.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense("y_TN", y_TN, dtype, {rows, outputs}));
  HETERO_RETURN_IF_ERROR(ExpectDense("a_TN", a_TN, dtype, {rows, outputs}));
  return Compute(
      {.gemm =
           {.a = x_TK, .b = w_NK, .c = y_TN, .transpose_b = true, .name = "linear.squared_relu"},
       .activated = a_TN},
      stream);
}

absl::Status LinearSquaredReluBackward(const ConstTensorView& dy_TN, const ConstTensorView& w_NK,
                                       const ConstTensorView& f_TK, const TensorView& df_TK,
                                       Stream& stream) {
  const DType dtype = dy_TN.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("dy_TN", dy_TN, dtype, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("w_NK", w_NK, dtype, {dy_TN.dim(1), kAnyDim}));
  const int64_t rows = dy_TN.dim(0), inputs = w_NK.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense("f_TK", f_TK, dtype, {rows, inputs}));
  HETERO_RETURN_IF_ERROR(ExpectDense("df_TK", df_TK, dtype, {rows, inputs}));
  return Compute(
      {.gemm = {.a = dy_TN, .b = w_NK, .c = df_TK, .name = "linear.squared_relu_backward"},
       .f = f_TK},
      stream);
}

}  // namespace hetero
