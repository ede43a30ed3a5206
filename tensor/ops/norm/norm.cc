#include "hetero/tensor/ops/norm/norm.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/row_parts.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Operations per element that any implementation does.
constexpr double kForwardFlops = 4;
constexpr double kBackwardFlops = 10;

absl::Status ExpectColumns(const ConstTensorView& x_TC) {
  HETERO_RETURN_IF_ERROR(ExpectShape("x", x_TC, {kAnyDim, kAnyDim}));
  if (x_TC.dim(1) > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("x is ", x_TC.ToString(), "; a row to normalise needs at least one column"));
}

absl::Status Validate(const NormForwardArgs& args, bool centered) {
  HETERO_RETURN_IF_ERROR(ExpectColumns(args.x_TC));
  const DType dtype = args.x_TC.dtype();
  const int64_t rows = args.x_TC.dim(0);
  const int64_t columns = args.x_TC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense("weight", args.weight_C, dtype, {columns}));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("y", args.y_TC, args.x_TC));
  HETERO_RETURN_IF_ERROR(ExpectDense("rstd", args.rstd_T, ComputeDType(dtype), {rows}));
  if (!args.residual_TC.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrixLike("residual", args.residual_TC, args.x_TC));
    HETERO_RETURN_IF_ERROR(ExpectMatrixLike("sum", args.sum_TC, args.x_TC));
  }
  if (!centered) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(ExpectDense("bias", args.bias_C, dtype, {columns}));
  return ExpectDense("mean", args.mean_T, ComputeDType(dtype), {rows});
}

absl::Status Validate(const NormBackwardArgs& args, bool centered) {
  HETERO_RETURN_IF_ERROR(ExpectColumns(args.x_TC));
  const DType dtype = args.x_TC.dtype();
  const int64_t rows = args.x_TC.dim(0);
  const int64_t columns = args.x_TC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("dy", args.dy_TC, args.x_TC));
  HETERO_RETURN_IF_ERROR(ExpectDense("weight", args.weight_C, dtype, {columns}));
  HETERO_RETURN_IF_ERROR(ExpectDense("rstd", args.rstd_T, ComputeDType(dtype), {rows}));
  if (!args.dx_TC.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrixLike("dx", args.dx_TC, args.x_TC));
  }
  if (!args.dsum_TC.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrixLike("dsum", args.dsum_TC, args.x_TC));
  }
  const bool weight_wanted = !args.dweight_C.is_null();
  if (weight_wanted) {
    HETERO_RETURN_IF_ERROR(ExpectDense("dweight", args.dweight_C, ComputeDType(dtype), {columns}));
  }
  if (!centered) return absl::OkStatus();
  if (weight_wanted) {
    HETERO_RETURN_IF_ERROR(ExpectDense("dbias", args.dbias_C, ComputeDType(dtype), {columns}));
  }
  return ExpectDense("mean", args.mean_T, ComputeDType(dtype), {rows});
}

absl::Status Forward(std::string_view name, const NormForwardArgs& args, bool centered,
                     Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(args, centered)).With(name);
  const double moves = args.residual_TC.is_null() ? 2 : 4;
  OperationScope scope(
      stream, {name, kForwardFlops * args.x_TC.num_elements(), moves * args.x_TC.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::NormForwardCpu(args, centered),
                         internal::NormForwardCuda(args, centered, stream));
}

absl::Status Backward(std::string_view name, const NormBackwardArgs& args, bool centered,
                      Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(args, centered)).With(name);
  ArenaScope scratch(stream.workspace());
  TensorView partials;
  if (stream.device().IsCuda() && !args.dweight_C.is_null()) {
    HETERO_ASSIGN_OR_RETURN(
        partials,
        stream.workspace().Allocate(
            DType::kF32, {centered ? 2 : 1, RowParts(args.x_TC.dim(0)).count, args.x_TC.dim(1)}));
  }
  const double moves = 2.0 + (args.dx_TC.is_null() ? 0 : 1) + (args.dsum_TC.is_null() ? 0 : 1);
  OperationScope scope(
      stream, {name, kBackwardFlops * args.x_TC.num_elements(), moves * args.x_TC.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::NormBackwardCpu(args, centered),
                         internal::NormBackwardCuda(args, centered, partials, stream));
}

}  // namespace

absl::Status RmsNormForward(const NormForwardArgs& args, Stream& stream) {
  return Forward("rms_norm.forward", args, false, stream);
}

absl::Status LayerNormForward(const NormForwardArgs& args, Stream& stream) {
  return Forward("layer_norm.forward", args, true, stream);
}

absl::Status RmsNormBackward(const NormBackwardArgs& args, Stream& stream) {
  return Backward("rms_norm.backward", args, false, stream);
}

absl::Status LayerNormBackward(const NormBackwardArgs& args, Stream& stream) {
  return Backward("layer_norm.backward", args, true, stream);
}

}  // namespace hetero
