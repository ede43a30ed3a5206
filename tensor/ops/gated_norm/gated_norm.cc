#include "hetero/tensor/ops/gated_norm/gated_norm.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status Validate(const GatedNormInputs& inputs) {
  HETERO_RETURN_IF_ERROR(ExpectShape("y", inputs.y_TI, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("z", inputs.z_TI, inputs.y_TI));
  const int64_t channels = inputs.y_TI.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense("weight", inputs.weight_I, inputs.y_TI.dtype(), {channels}));
  if (inputs.num_groups < 1 || channels % inputs.num_groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_groups is ", inputs.num_groups,
                                                   "; expected a divisor of the ", channels,
                                                   " channels"));
  }
  return absl::OkStatus();
}

absl::Status Validate(const GatedNormGradients& gradients, const GatedNormInputs& inputs) {
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("d_y", gradients.d_y_TI, inputs.y_TI));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("d_z", gradients.d_z_TI, inputs.y_TI));
  if (gradients.d_weight_I.is_null()) return absl::OkStatus();
  return ExpectDense("d_weight", gradients.d_weight_I, ComputeDType(inputs.y_TI.dtype()),
                     {inputs.y_TI.dim(1)});
}

}  // namespace

absl::Status GatedNormForward(const GatedNormInputs& inputs, TensorView out_TI, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(inputs)).With("gated_norm.forward");
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("out", out_TI, inputs.y_TI)).With("gated_norm.forward");
  constexpr double kFlopsPerElement = 9;  // gate 5, square and sum 2, scale 2
  OperationScope scope(stream, {"gated_norm.forward", kFlopsPerElement * out_TI.num_elements(),
                                3.0 * out_TI.num_bytes() + inputs.weight_I.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GatedNormForwardCpu(inputs, out_TI),
                         internal::GatedNormForwardCuda(inputs, out_TI, stream));
}

absl::Status GatedNormBackward(const GatedNormInputs& inputs, ConstTensorView d_out_TI,
                               const GatedNormGradients& gradients, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(inputs)).With("gated_norm.backward");
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("d_out", d_out_TI, inputs.y_TI))
      .With("gated_norm.backward");
  HETERO_RETURN_IF_ERROR(Validate(gradients, inputs)).With("gated_norm.backward");
  const int64_t channels = inputs.y_TI.dim(1);
  const DType compute = ComputeDType(inputs.y_TI.dtype());
  Arena& workspace = stream.workspace();
  ArenaScope scratch(workspace);
  TensorView gate, weight_sum_I, partials_PI;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(gate, workspace.Allocate(compute, {2, channels / inputs.num_groups}));
    HETERO_ASSIGN_OR_RETURN(weight_sum_I, workspace.Allocate(compute, {channels}));
  } else if (!gradients.d_weight_I.is_null()) {
    HETERO_ASSIGN_OR_RETURN(
        partials_PI,
        workspace.Allocate(compute, {internal::GatedNormParts(inputs).count, channels}));
  }
  constexpr double kFlopsPerElement = 24;  // forward's 7 again, dot 3, dv 3, dy 1, dz 7, weight 3
  OperationScope scope(stream, {"gated_norm.backward", kFlopsPerElement * d_out_TI.num_elements(),
                                5.0 * d_out_TI.num_bytes() + 2.0 * inputs.weight_I.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream, internal::GatedNormBackwardCpu(inputs, d_out_TI, gradients, gate, weight_sum_I),
      internal::GatedNormBackwardCuda(inputs, d_out_TI, gradients, partials_PI, stream));
}

}  // namespace hetero
