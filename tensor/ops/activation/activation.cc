#include "hetero/tensor/ops/activation/activation.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/row_parts.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Operations per element, a tanh or an erf counted as one.
constexpr double kSquaredReluFlops = 3;
constexpr double kGeluForwardFlops = 9;
constexpr double kGeluBackwardFlops = 16;
constexpr double kSwiGluForwardFlops = 6;
constexpr double kSwiGluBackwardFlops = 12;

// INVALID_ARGUMENT unless `a` has a column for every two of `f`.
absl::Status ExpectHalf(std::string_view operand, const ConstTensorView& a_TF,
                        const ConstTensorView& f_TD) {
  HETERO_RETURN_IF_ERROR(ExpectShape("f", f_TD, {kAnyDim, kAnyDim}));
  if (f_TD.dim(1) % 2 == 0) {
    return ExpectMatrix(operand, a_TF, f_TD.dtype(), f_TD.dim(0), f_TD.dim(1) / 2);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("f has ", f_TD.dim(1), " columns; expected gates and as many that they gate"));
}

absl::Status ExpectVectorOrNull(std::string_view operand, const ConstTensorView& view, DType dtype,
                                int64_t size) {
  return view.is_null() ? absl::OkStatus() : ExpectDense(operand, view, dtype, {size});
}

}  // namespace

absl::Status SquaredReluForward(const ConstTensorView& f_TF, const ConstTensorView& p_T,
                                const TensorView& a_TF, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("f", f_TF, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("p", p_T, ComputeDType(f_TF.dtype()), f_TF.dim(0)));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("a", a_TF, f_TF));
  OperationScope scope(stream, {"squared_relu.forward", kSquaredReluFlops * f_TF.num_elements(),
                                2.0 * f_TF.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SquaredReluForwardCpu(f_TF, p_T, a_TF),
                         internal::SquaredReluForwardCuda(f_TF, p_T, a_TF, stream));
}

absl::Status SquaredReluBackward(const SquaredReluBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("f", args.f_TF, {kAnyDim, kAnyDim}));
  const DType dtype = ComputeDType(args.f_TF.dtype());
  const int64_t rows = args.f_TF.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("da", args.da_TF, args.f_TF));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("p", args.p_T, dtype, rows));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("df", args.df_TF, args.f_TF));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("dp", args.dp_T, dtype, rows));
  OperationScope scope(stream,
                       {"squared_relu.backward", 2 * kSquaredReluFlops * args.f_TF.num_elements(),
                        3.0 * args.f_TF.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SquaredReluBackwardCpu(args),
                         internal::SquaredReluBackwardCuda(args, stream));
}

absl::Status GeluForward(GeluForm form, const ConstTensorView& f_TF, const ConstTensorView& bias_F,
                         const TensorView& a_TF, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("f", f_TF, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("bias", bias_F, f_TF.dtype(), f_TF.dim(1)));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("a", a_TF, f_TF));
  OperationScope scope(
      stream, {"gelu.forward", kGeluForwardFlops * f_TF.num_elements(), 2.0 * f_TF.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GeluForwardCpu(form, f_TF, bias_F, a_TF),
                         internal::GeluForwardCuda(form, f_TF, bias_F, a_TF, stream));
}

absl::Status GeluBackward(const GeluBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("f", args.f_TF, {kAnyDim, kAnyDim}));
  const DType dtype = args.f_TF.dtype();
  const int64_t columns = args.f_TF.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("da", args.da_TF, args.f_TF));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("bias", args.bias_F, dtype, columns));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("df", args.df_TF, args.f_TF));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("dbias", args.dbias_F, ComputeDType(dtype), columns));
  ArenaScope scratch(stream.workspace());
  TensorView partials;
  if (stream.device().IsCuda() && !args.dbias_F.is_null()) {
    HETERO_ASSIGN_OR_RETURN(
        partials,
        stream.workspace().Allocate(DType::kF32, {RowParts(args.f_TF.dim(0)).count, columns}));
  }
  OperationScope scope(stream, {"gelu.backward", kGeluBackwardFlops * args.f_TF.num_elements(),
                                3.0 * args.f_TF.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GeluBackwardCpu(args),
                         internal::GeluBackwardCuda(args, partials, stream));
}

absl::Status SwiGluForward(const ConstTensorView& f_TD, const ConstTensorView& bias_D,
                           const TensorView& a_TF, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectHalf("a", a_TF, f_TD));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("bias", bias_D, f_TD.dtype(), f_TD.dim(1)));
  OperationScope scope(stream, {"swiglu.forward", kSwiGluForwardFlops * a_TF.num_elements(),
                                1.0 * f_TD.num_bytes() + a_TF.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SwiGluForwardCpu(f_TD, bias_D, a_TF),
                         internal::SwiGluForwardCuda(f_TD, bias_D, a_TF, stream));
}

absl::Status SwiGluBackward(const SwiGluBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectHalf("da", args.da_TF, args.f_TD));
  const DType dtype = args.f_TD.dtype();
  const int64_t columns = args.f_TD.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("bias", args.bias_D, dtype, columns));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("df", args.df_TD, args.f_TD));
  HETERO_RETURN_IF_ERROR(ExpectVectorOrNull("dbias", args.dbias_D, ComputeDType(dtype), columns));
  ArenaScope scratch(stream.workspace());
  TensorView partials;
  if (stream.device().IsCuda() && !args.dbias_D.is_null()) {
    HETERO_ASSIGN_OR_RETURN(
        partials,
        stream.workspace().Allocate(DType::kF32, {RowParts(args.f_TD.dim(0)).count, columns}));
  }
  OperationScope scope(stream, {"swiglu.backward", kSwiGluBackwardFlops * args.da_TF.num_elements(),
                                2.0 * args.f_TD.num_bytes() + args.da_TF.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SwiGluBackwardCpu(args),
                         internal::SwiGluBackwardCuda(args, partials, stream));
}

}  // namespace hetero
