#include "hetero/tensor/ops/layer_scale/layer_scale.h"

#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/row_parts.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Operations per element.
constexpr double kForwardFlops = 2;
constexpr double kBackwardFlops = 3;

}  // namespace

absl::Status LayerScaleForward(const LayerScaleForwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("x", args.x_TC, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("residual", args.residual_TC, args.x_TC));
  HETERO_RETURN_IF_ERROR(ExpectDense("scale", args.scale_C, args.x_TC.dtype(), {args.x_TC.dim(1)}));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("y", args.y_TC, args.x_TC));
  OperationScope scope(stream, {"layer_scale.forward", kForwardFlops * args.x_TC.num_elements(),
                                3.0 * args.x_TC.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::LayerScaleForwardCpu(args),
                         internal::LayerScaleForwardCuda(args, stream));
}

absl::Status LayerScaleBackward(const LayerScaleBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("x", args.x_TC, {kAnyDim, kAnyDim}));
  const DType dtype = args.x_TC.dtype();
  const int64_t channels = args.x_TC.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("dy", args.dy_TC, args.x_TC));
  HETERO_RETURN_IF_ERROR(ExpectDense("scale", args.scale_C, dtype, {channels}));
  HETERO_RETURN_IF_ERROR(ExpectMatrixLike("dx", args.dx_TC, args.x_TC));
  ArenaScope scratch(stream.workspace());
  TensorView partials;
  if (!args.dscale_C.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("dscale", args.dscale_C, ComputeDType(dtype), {channels}));
    if (stream.device().IsCuda()) {
      HETERO_ASSIGN_OR_RETURN(
          partials,
          stream.workspace().Allocate(DType::kF32, {RowParts(args.x_TC.dim(0)).count, channels}));
    }
  }
  OperationScope scope(stream, {"layer_scale.backward", kBackwardFlops * args.x_TC.num_elements(),
                                3.0 * args.x_TC.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::LayerScaleBackwardCpu(args),
                         internal::LayerScaleBackwardCuda(args, partials, stream));
}

}  // namespace hetero
