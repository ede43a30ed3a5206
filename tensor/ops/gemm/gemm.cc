#include "hetero/tensor/ops/gemm/gemm.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/gemm/bias_cpu.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/tensor/ops/gemm/matmul_cuda.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// A matrix without rows may have a row stride of 0, which BLAS refuses.
int64_t RowStride(const ConstTensorView& view) {
  return std::max<int64_t>(view.stride(0), std::max<int64_t>(view.dim(1), 1));
}

absl::Status ExpectOutput(std::string_view operand, const ConstTensorView& view, DType inputs) {
  return view.dtype() == ComputeDType(inputs) ? absl::OkStatus()
                                              : ExpectDType(operand, view, inputs);
}

// How a GPU cuts rows whose columns are summed: enough parts to fill it, few enough to fold fast.
int64_t RowsPerPart(int64_t rows) { return std::max<int64_t>(64, (rows + 127) / 128); }

}  // namespace

namespace internal {

absl::Status GemmCpu(const GemmArgs& args) {
  return VisitFloat(args.a.dtype(), [&]<typename T>() -> absl::Status {
    const int64_t m = args.c.dim(0);
    const int64_t n = args.c.dim(1);
    const int64_t k = args.a.dim(args.transpose_a ? 0 : 1);
    T* const c = args.c.data<T>();
    const bool has_bias = !args.bias.is_null();
    const bool has_added =
        args.beta != 0 && !args.added.is_null() && args.added.address() != args.c.address();
    RowFill<T> fill = {.c = c, .c_stride = args.c.stride(0), .rows = m, .columns = n};
    if (has_bias) fill.bias = args.bias.data<T>();
    // What is added beside a bias comes last: products are summed without it, which is larger.
    const bool adds_last = has_bias && has_added;
    if (args.beta != 0 && !adds_last) {
      const ConstTensorView added = has_added ? args.added : ConstTensorView(args.c);
      fill.added = added.data<T>();
      fill.added_stride = added.stride(0);
      fill.beta = static_cast<T>(args.beta);
    }
    const bool fills = has_bias || has_added;
    if (fills) FillRowsCpu<T>(fill);
    HETERO_RETURN_IF_ERROR(
        cpu::Gemm<T>(args.transpose_a, args.transpose_b, m, n, k, static_cast<T>(args.alpha),
                     args.a.data<T>(), RowStride(args.a), args.b.data<T>(), RowStride(args.b),
                     fills ? T(1) : static_cast<T>(args.beta), c, RowStride(args.c)));
    if (adds_last) {
      AddRowsCpu<T>(args.added.data<T>(), args.added.stride(0), static_cast<T>(args.beta), c,
                    args.c.stride(0), m, n);
    }
    return absl::OkStatus();
  });
}

absl::Status BiasBackwardCpu(const ConstTensorView& dy, bool accumulate, const TensorView& dbias) {
  return VisitFloat(dy.dtype(), [&]<typename T>() {
    SumRowsCpu(dy.data<T>(), dy.stride(0), dy.dim(0), dy.dim(1), accumulate, dbias.data<T>());
  });
}

}  // namespace internal

absl::Status Gemm(const GemmArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("c", args.c, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectShape("a", args.a, {kAnyDim, kAnyDim}));
  const DType dtype = args.a.dtype();
  const int64_t m = args.c.dim(0);
  const int64_t n = args.c.dim(1);
  const int64_t k = args.a.dim(args.transpose_a ? 0 : 1);
  HETERO_RETURN_IF_ERROR(args.transpose_a ? ExpectMatrix("a", args.a, dtype, k, m)
                                          : ExpectMatrix("a", args.a, dtype, m, k));
  HETERO_RETURN_IF_ERROR(args.transpose_b ? ExpectMatrix("b", args.b, dtype, n, k)
                                          : ExpectMatrix("b", args.b, dtype, k, n));
  HETERO_RETURN_IF_ERROR(ExpectOutput("c", args.c, dtype));
  if (!args.bias.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("bias", args.bias, args.c.dtype(), {n}));
  }
  if (!args.added.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrix("added", args.added, args.c.dtype(), m, n));
  }
  ArenaScope scratch(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView workspace, cuda::AllocateMatmulScratch(stream));
  const double bytes = args.a.num_bytes() + args.b.num_bytes() + args.bias.num_bytes() +
                       (args.beta == 0 ? 1.0 : 2.0) * args.c.num_bytes();
  OperationScope scope(stream, {args.name, 2.0 * m * n * k, bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GemmCpu(args),
                         internal::GemmCuda(args, workspace, stream));
}

absl::Status LinearForward(const ConstTensorView& x_TK, const ConstTensorView& w_NK,
                           const ConstTensorView& bias_N, const TensorView& y_TN, Stream& stream) {
  return Gemm({.a = x_TK,
               .b = w_NK,
               .c = y_TN,
               .bias = bias_N,
               .transpose_b = true,
               .name = "linear.forward"},
              stream);
}

absl::Status LinearBackwardInput(const ConstTensorView& dy_TN, const ConstTensorView& w_NK,
                                 const TensorView& dx_TK, bool accumulate, Stream& stream) {
  return Gemm({.a = dy_TN,
               .b = w_NK,
               .c = dx_TK,
               .beta = accumulate ? 1.0 : 0.0,
               .name = "linear.backward_input"},
              stream);
}

absl::Status LinearBackwardWeight(const ConstTensorView& dy_TN, const ConstTensorView& x_TK,
                                  const TensorView& dw_NK, bool accumulate, Stream& stream) {
  return Gemm({.a = dy_TN,
               .b = x_TK,
               .c = dw_NK,
               .transpose_a = true,
               .beta = accumulate ? 1.0 : 0.0,
               .name = "linear.backward_weight"},
              stream);
}

absl::Status BiasBackward(const ConstTensorView& dy_TN, const TensorView& dbias_N, bool accumulate,
                          Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("dy", dy_TN, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("dbias", dbias_N, ComputeDType(dy_TN.dtype()), {dy_TN.dim(1)}));
  const int64_t rows_per_part = RowsPerPart(dy_TN.dim(0));
  const int64_t num_parts = CeilDiv(dy_TN.dim(0), rows_per_part);
  ArenaScope scratch(stream.workspace());
  TensorView parts;
  if (stream.device().IsCuda() && num_parts > 1) {
    HETERO_ASSIGN_OR_RETURN(parts,
                            stream.workspace().Allocate(DType::kF32, {num_parts, dy_TN.dim(1)}));
  }
  OperationScope scope(stream,
                       {"bias.backward", 1.0 * dy_TN.num_elements(), 1.0 * dy_TN.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::BiasBackwardCpu(dy_TN, accumulate, dbias_N),
      internal::BiasBackwardCuda(dy_TN, accumulate, parts, rows_per_part, dbias_N, stream));
}

}  // namespace hetero
