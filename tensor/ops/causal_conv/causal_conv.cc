#include "hetero/tensor/ops/causal_conv/causal_conv.h"

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

constexpr int64_t kMaxTaps = 4;

// Operations of SiLU and of its derivative, an exponential and a division counted as one each.
constexpr double kSiluFlops = 4;
constexpr double kSiluBackwardFlops = 9;

absl::Status Validate(const CausalConvInputs& inputs) {
  const DType dtype = inputs.x_TC.dtype();
  HETERO_RETURN_IF_ERROR(ExpectShape("x", inputs.x_TC, {kAnyDim, kAnyDim}));
  const int64_t channels = inputs.x_TC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense("weight", inputs.weight_CK, dtype, {channels, kAnyDim}));
  if (!inputs.bias_C.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("bias", inputs.bias_C, dtype, {channels}));
  }
  const int64_t taps = inputs.weight_CK.dim(1);
  if (taps < 1 || taps > kMaxTaps) {
    return absl::InvalidArgumentError(
        absl::StrCat("weight has ", taps, " taps; expected 1 to ", kMaxTaps));
  }
  return Validate(inputs.sequences, inputs.x_TC.dim(0));
}

absl::Status Validate(const CausalConvGradients& gradients, const CausalConvInputs& inputs) {
  const DType compute = ComputeDType(inputs.x_TC.dtype());
  const int64_t channels = inputs.x_TC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("d_x", gradients.d_x_TC, inputs.x_TC));
  if (!gradients.d_weight_CK.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("d_weight", gradients.d_weight_CK, compute,
                                       {channels, inputs.weight_CK.dim(1)}));
  }
  if (!gradients.d_bias_C.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("d_bias", gradients.d_bias_C, compute, {channels}));
    if (inputs.bias_C.is_null()) {
      return absl::InvalidArgumentError("d_bias is given for a convolution without a bias");
    }
  }
  return absl::OkStatus();
}

// The weights with the taps as rows and, where there is no bias, a row of zeros for it.
absl::StatusOr<TensorView> AllocateWeights(const CausalConvInputs& inputs, Arena& workspace) {
  const int64_t rows = inputs.weight_CK.dim(1) + (inputs.bias_C.is_null() ? 1 : 0);
  return workspace.Allocate(ComputeDType(inputs.x_TC.dtype()), {rows, inputs.x_TC.dim(1)});
}

double ParameterBytes(const CausalConvInputs& inputs) {
  return static_cast<double>(inputs.weight_CK.num_bytes() + inputs.bias_C.num_bytes());
}

}  // namespace

absl::Status CausalConvForward(const CausalConvInputs& inputs, TensorView out_TC, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(inputs)).With("causal_conv.forward");
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("out", out_TC, inputs.x_TC)).With("causal_conv.forward");
  const int64_t taps = inputs.weight_CK.dim(1);
  ArenaScope scratch(stream.workspace());
  TensorView weight_KC;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(weight_KC, AllocateWeights(inputs, stream.workspace()));
  }
  OperationScope scope(
      stream, {"causal_conv.forward", inputs.x_TC.num_elements() * (2.0 * taps + kSiluFlops),
               2.0 * inputs.x_TC.num_bytes() + ParameterBytes(inputs)});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CausalConvForwardCpu(inputs, out_TC, weight_KC),
                         internal::CausalConvForwardCuda(inputs, out_TC, stream));
}

absl::Status CausalConvBackward(const CausalConvInputs& inputs, ConstTensorView d_out_TC,
                                const CausalConvGradients& gradients, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(inputs)).With("causal_conv.backward");
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("d_out", d_out_TC, inputs.x_TC))
      .With("causal_conv.backward");
  HETERO_RETURN_IF_ERROR(Validate(gradients, inputs)).With("causal_conv.backward");
  const int64_t channels = inputs.x_TC.dim(1);
  const int64_t taps = inputs.weight_CK.dim(1);
  const DType compute = ComputeDType(inputs.x_TC.dtype());
  Arena& workspace = stream.workspace();
  ArenaScope scratch(workspace);
  TensorView weight_KC, ring_KC, sums_KC, partials_PSC;
  if (!stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(weight_KC, AllocateWeights(inputs, workspace));
    HETERO_ASSIGN_OR_RETURN(ring_KC, workspace.Allocate(compute, {taps, channels}));
    HETERO_ASSIGN_OR_RETURN(sums_KC, workspace.Allocate(compute, {taps + 1, channels}));
  } else if (!gradients.d_weight_CK.is_null() || !gradients.d_bias_C.is_null()) {
    HETERO_ASSIGN_OR_RETURN(
        partials_PSC,
        workspace.Allocate(compute, {internal::CausalConvParts(inputs).count, taps + 1, channels}));
  }
  OperationScope scope(stream, {"causal_conv.backward",
                                inputs.x_TC.num_elements() * (6.0 * taps + kSiluBackwardFlops),
                                3.0 * inputs.x_TC.num_bytes() + 2.0 * ParameterBytes(inputs)});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(
      stream,
      internal::CausalConvBackwardCpu(inputs, d_out_TC, gradients, weight_KC, ring_KC, sums_KC),
      internal::CausalConvBackwardCuda(inputs, d_out_TC, gradients, partials_PSC, stream));
}

}  // namespace hetero
