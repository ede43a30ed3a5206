#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"

#include <cstdint>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

using internal::ExpertProduct;

// An operand and what its errors call it.
struct Named {
  std::string_view name;
  ConstTensorView view;
};

// Checks the operands by what they hold, whichever is the result, and notes the extents.
absl::Status Validate(const Named& inputs_RK, const Named& outputs_RN, const Named& weights_ENK,
                      DType weights_dtype, ExpertProduct& product) {
  const DType dtype = product.a.dtype();
  HETERO_RETURN_IF_ERROR(
      ExpectDense(weights_ENK.name, weights_ENK.view, weights_dtype, {kAnyDim, kAnyDim, kAnyDim}));
  product.num_experts = weights_ENK.view.dim(0);
  product.num_outputs = weights_ENK.view.dim(1);
  product.num_inputs = weights_ENK.view.dim(2);
  HETERO_RETURN_IF_ERROR(
      ExpectDense(inputs_RK.name, inputs_RK.view, dtype, {kAnyDim, product.num_inputs}));
  product.num_rows = inputs_RK.view.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense(outputs_RN.name, outputs_RN.view, dtype,
                                     {product.num_rows, product.num_outputs}));
  return ExpectDense("offsets_E1", product.offsets, DType::kI32, {product.num_experts + 1});
}

// Of what lies behind a product its bytes count, not the few operations for each of its elements.
absl::Status Compute(std::string_view name, const ExpertProduct& product, Stream& stream) {
  const internal::ExpertSquaredRelu& relu = product.squared_relu;
  const double r = product.num_rows, k = product.num_inputs, n = product.num_outputs;
  const double bytes = static_cast<double>(product.a.num_bytes() + product.b.num_bytes() +
                                           relu.activated_RN.num_bytes() + relu.f_RK.num_bytes()) +
                       (product.accumulate ? 2.0 : 1.0) * product.c.num_bytes();
  OperationScope scope(stream, {name, 2 * r * k * n, bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::ExpertProductCpu(product),
                         internal::ExpertProductCuda(product, stream));
}

}  // namespace

absl::Status ExpertLinearForward(const ConstTensorView& x_RK, const ConstTensorView& w_ENK,
                                 const ConstTensorView& offsets_E1, const TensorView& y_RN,
                                 Stream& stream) {
  ExpertProduct product = {.kind = ExpertProduct::Kind::kForward,
                           .a = x_RK,
                           .b = w_ENK,
                           .offsets = offsets_E1,
                           .c = y_RN};
  HETERO_RETURN_IF_ERROR(
      Validate({"x_RK", x_RK}, {"y_RN", y_RN}, {"w_ENK", w_ENK}, x_RK.dtype(), product));
  return Compute("expert_linear.forward", product, stream);
}

absl::Status ExpertLinearSquaredRelu(const ConstTensorView& x_RK, const ConstTensorView& w_ENK,
                                     const ConstTensorView& offsets_E1, const ConstTensorView& p_R,
                                     const TensorView& y_RN, const TensorView& a_RN,
                                     Stream& stream) {
  const DType dtype = x_RK.dtype();
  ExpertProduct product = {.kind = ExpertProduct::Kind::kForward,
                           .a = x_RK,
                           .b = w_ENK,
                           .offsets = offsets_E1,
                           .c = y_RN,
                           .squared_relu = {.p_R = p_R, .activated_RN = a_RN}};
  HETERO_RETURN_IF_ERROR(
      Validate({"x_RK", x_RK}, {"y_RN", y_RN}, {"w_ENK", w_ENK}, dtype, product));
  HETERO_RETURN_IF_ERROR(ExpectDense("p_R", p_R, ComputeDType(dtype), {product.num_rows}));
  HETERO_RETURN_IF_ERROR(ExpectDense("a_RN", a_RN, dtype, {product.num_rows, product.num_outputs}));
  return Compute("expert_linear.forward", product, stream);
}

absl::Status ExpertLinearSquaredReluBackward(
    const ConstTensorView& dy_RN, const ConstTensorView& w_ENK, const ConstTensorView& offsets_E1,
    const ConstTensorView& f_RK, const ConstTensorView& p_R, const TensorView& df_RK,
    const TensorView& dp_R, const TensorView& scratch, Stream& stream) {
  const DType dtype = dy_RN.dtype();
  ExpertProduct product = {.kind = ExpertProduct::Kind::kBackwardInput,
                           .a = dy_RN,
                           .b = w_ENK,
                           .offsets = offsets_E1,
                           .c = df_RK,
                           .squared_relu = {.p_R = p_R, .f_RK = f_RK, .dp_R = dp_R}};
  HETERO_RETURN_IF_ERROR(
      Validate({"df_RK", df_RK}, {"dy_RN", dy_RN}, {"w_ENK", w_ENK}, dtype, product));
  HETERO_RETURN_IF_ERROR(ExpectDense("f_RK", f_RK, dtype, {product.num_rows, product.num_inputs}));
  HETERO_RETURN_IF_ERROR(ExpectDense("p_R", p_R, ComputeDType(dtype), {product.num_rows}));
  HETERO_RETURN_IF_ERROR(ExpectDense("dp_R", dp_R, ComputeDType(dtype), {product.num_rows}));
  if (stream.device().IsCuda()) {
    const int64_t parts = CeilDiv(product.num_inputs, internal::kExpertTileColumns);
    HETERO_RETURN_IF_ERROR(ExpectShape("scratch", scratch, {parts, kAnyDim}));
    HETERO_RETURN_IF_ERROR(ExpectDType("scratch", scratch, DType::kF32));
    if (scratch.dim(1) < product.num_rows) {
      return absl::InvalidArgumentError(absl::StrCat(
          "scratch is for ", scratch.dim(1), " rows; expected at least ", product.num_rows));
    }
    product.squared_relu.dp_parts_XR = scratch;
  }
  return Compute("expert_linear.backward_input", product, stream);
}

absl::StatusOr<TensorView> AllocateExpertScratch(int64_t num_inputs, int64_t rows, Stream& stream) {
  if (!stream.device().IsCuda()) return TensorView();
  return stream.workspace().Allocate(DType::kF32,
                                     {CeilDiv(num_inputs, internal::kExpertTileColumns), rows});
}

absl::Status ExpertLinearBackwardInput(const ConstTensorView& dy_RN, const ConstTensorView& w_ENK,
                                       const ConstTensorView& offsets_E1, const TensorView& dx_RK,
                                       Stream& stream) {
  ExpertProduct product = {.kind = ExpertProduct::Kind::kBackwardInput,
                           .a = dy_RN,
                           .b = w_ENK,
                           .offsets = offsets_E1,
                           .c = dx_RK};
  HETERO_RETURN_IF_ERROR(
      Validate({"dx_RK", dx_RK}, {"dy_RN", dy_RN}, {"w_ENK", w_ENK}, dy_RN.dtype(), product));
  return Compute("expert_linear.backward_input", product, stream);
}

absl::Status ExpertLinearBackwardWeight(const ConstTensorView& dy_RN, const ConstTensorView& x_RK,
                                        const ConstTensorView& offsets_E1, const TensorView& dw_ENK,
                                        bool accumulate, Stream& stream) {
  ExpertProduct product = {.kind = ExpertProduct::Kind::kBackwardWeight,
                           .a = dy_RN,
                           .b = x_RK,
                           .offsets = offsets_E1,
                           .c = dw_ENK,
                           .accumulate = accumulate};
  HETERO_RETURN_IF_ERROR(Validate({"x_RK", x_RK}, {"dy_RN", dy_RN}, {"dw_ENK", dw_ENK},
                                  ComputeDType(dy_RN.dtype()), product));
  return Compute("expert_linear.backward_weight", product, stream);
}

}  // namespace hetero
