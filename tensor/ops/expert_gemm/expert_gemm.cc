#include "hetero/tensor/ops/expert_gemm/expert_gemm.h"

#include <cstdint>
#include <string_view>

#include "hetero/base/status.h"
#include "hetero/tensor/ops/cpu_kernel.h"
#include "hetero/tensor/ops/gemm/gemm_cpu.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

struct Extents {
  int64_t num_rows = 0;     // R
  int64_t num_inputs = 0;   // K
  int64_t num_outputs = 0;  // N
  int64_t num_experts = 0;  // E
  DType dtype = DType::kF32;

  OperationCost Cost(std::string_view name) const {
    const double r = num_rows, k = num_inputs, n = num_outputs, e = num_experts;
    return {name, 2 * r * k * n, static_cast<double>(SizeOf(dtype)) * (r * (k + n) + e * k * n)};
  }
};

absl::Status Validate(std::string_view inputs_name, const ConstTensorView& inputs_RK,
                      std::string_view outputs_name, const ConstTensorView& outputs_RN,
                      std::string_view weights_name, const ConstTensorView& weights_ENK,
                      const ConstTensorView& offsets_E1, Extents& extents) {
  extents.dtype = weights_ENK.dtype();
  HETERO_RETURN_IF_ERROR(
      ExpectDense(weights_name, weights_ENK, extents.dtype, {kAnyDim, kAnyDim, kAnyDim}));
  extents.num_experts = weights_ENK.dim(0);
  extents.num_outputs = weights_ENK.dim(1);
  extents.num_inputs = weights_ENK.dim(2);
  HETERO_RETURN_IF_ERROR(
      ExpectDense(inputs_name, inputs_RK, extents.dtype, {kAnyDim, extents.num_inputs}));
  extents.num_rows = inputs_RK.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense(outputs_name, outputs_RN, extents.dtype,
                                     {extents.num_rows, extents.num_outputs}));
  return ExpectDense("offsets_E1", offsets_E1, DType::kI32, {extents.num_experts + 1});
}

}  // namespace

absl::Status ExpertLinearForward(const ConstTensorView& x_RK, const ConstTensorView& w_ENK,
                                 const ConstTensorView& offsets_E1, const TensorView& y_RN,
                                 Stream& stream) {
  Extents extents;
  HETERO_RETURN_IF_ERROR(Validate("x_RK", x_RK, "y_RN", y_RN, "w_ENK", w_ENK, offsets_E1, extents));
  OperationScope scope(stream, extents.Cost("expert_linear.forward"));
  if (!scope.launches()) return absl::OkStatus();
  const int64_t n = extents.num_outputs, k = extents.num_inputs;
  const int32_t* offsets = offsets_E1.data<int32_t>();
  return VisitFloat(extents.dtype, [&]<typename T>() {
    for (int64_t e = 0; e < extents.num_experts; ++e) {
      cpu::Gemm<T>(false, true, offsets[e + 1] - offsets[e], n, k, T(1),
                   x_RK.data<T>() + offsets[e] * k, k, w_ENK.data<T>() + e * n * k, k, T(0),
                   y_RN.data<T>() + offsets[e] * n, n);
    }
  });
}

absl::Status ExpertLinearBackwardInput(const ConstTensorView& dy_RN, const ConstTensorView& w_ENK,
                                       const ConstTensorView& offsets_E1, const TensorView& dx_RK,
                                       Stream& stream) {
  Extents extents;
  HETERO_RETURN_IF_ERROR(
      Validate("dx_RK", dx_RK, "dy_RN", dy_RN, "w_ENK", w_ENK, offsets_E1, extents));
  OperationScope scope(stream, extents.Cost("expert_linear.backward_input"));
  if (!scope.launches()) return absl::OkStatus();
  const int64_t n = extents.num_outputs, k = extents.num_inputs;
  const int32_t* offsets = offsets_E1.data<int32_t>();
  return VisitFloat(extents.dtype, [&]<typename T>() {
    for (int64_t e = 0; e < extents.num_experts; ++e) {
      cpu::Gemm<T>(false, false, offsets[e + 1] - offsets[e], k, n, T(1),
                   dy_RN.data<T>() + offsets[e] * n, n, w_ENK.data<T>() + e * n * k, k, T(0),
                   dx_RK.data<T>() + offsets[e] * k, k);
    }
  });
}

absl::Status ExpertLinearBackwardWeight(const ConstTensorView& dy_RN, const ConstTensorView& x_RK,
                                        const ConstTensorView& offsets_E1, const TensorView& dw_ENK,
                                        bool accumulate, Stream& stream) {
  Extents extents;
  HETERO_RETURN_IF_ERROR(
      Validate("x_RK", x_RK, "dy_RN", dy_RN, "dw_ENK", dw_ENK, offsets_E1, extents));
  OperationScope scope(stream, extents.Cost("expert_linear.backward_weight"));
  if (!scope.launches()) return absl::OkStatus();
  const int64_t n = extents.num_outputs, k = extents.num_inputs;
  const int32_t* offsets = offsets_E1.data<int32_t>();
  return VisitFloat(extents.dtype, [&]<typename T>() {
    for (int64_t e = 0; e < extents.num_experts; ++e) {
      cpu::Gemm<T>(true, false, n, k, offsets[e + 1] - offsets[e], T(1),
                   dy_RN.data<T>() + offsets[e] * n, n, x_RK.data<T>() + offsets[e] * k, k,
                   accumulate ? T(1) : T(0), dw_ENK.data<T>() + e * n * k, k);
    }
  });
}

}  // namespace hetero
