#include "hetero/tensor/ops/check_indices/check_indices.h"

#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status CheckIndices(const CheckIndicesArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("indices", args.indices_N, DType::kI32, {kAnyDim}));
  double bytes = static_cast<double>(args.indices_N.num_bytes());
  if (!args.weight_N.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("weight", args.weight_N, args.weight_N.dtype(), {args.indices_N.dim(0)}));
    bytes += static_cast<double>(args.weight_N.num_bytes());
  }
  if (!args.outside_1.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("outside", args.outside_1, DType::kI64, {1}));
  } else if (stream.device().IsCuda()) {
    return absl::OkStatus();
  }
  OperationScope scope(stream, {"check_indices", 0, bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CheckIndicesCpu(args),
                         internal::CheckIndicesCuda(args, stream));
}

}  // namespace hetero
