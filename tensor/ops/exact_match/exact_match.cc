#include "hetero/tensor/ops/exact_match/exact_match.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status CountExactMatches(const ExactMatchArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("positions", args.positions_N, DType::kI32, {kAnyDim}));
  const int64_t tokens = args.positions_N.dim(0);
  HETERO_RETURN_IF_ERROR(ExpectDense("predicted", args.predicted_N, DType::kI32, {tokens}));
  HETERO_RETURN_IF_ERROR(ExpectDense("targets", args.targets_N, DType::kI32, {tokens}));
  HETERO_RETURN_IF_ERROR(ExpectDense("counts", args.counts_2, DType::kI64, {2}));
  if (args.row_length < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("row_length is ", args.row_length, "; expected at least 1"));
  }
  OperationScope scope(stream, {"exact_match", static_cast<double>(tokens), 12.0 * tokens});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CountExactMatchesCpu(args),
                         internal::CountExactMatchesCuda(args, stream));
}

}  // namespace hetero
