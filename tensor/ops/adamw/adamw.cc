#include "hetero/tensor/ops/adamw/adamw.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status Validate(const AdamWArgs& args) {
  if (args.parameter_N.rank() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter is ", args.parameter_N.ToString(), "; expected one dim"));
  }
  const int64_t n = args.parameter_N.dim(0);
  const DType dtype = args.parameter_N.dtype();
  HETERO_RETURN_IF_ERROR(ExpectDense("parameter", args.parameter_N, dtype, {n}));
  HETERO_RETURN_IF_ERROR(ExpectDense("gradient", args.gradient_N, dtype, {n}));
  HETERO_RETURN_IF_ERROR(ExpectDense("first moment", args.first_moment_N, dtype, {n}));
  HETERO_RETURN_IF_ERROR(ExpectDense("second moment", args.second_moment_N, dtype, {n}));
  if (!args.rounded_N.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("rounded", args.rounded_N, DType::kBF16, {n}));
  }
  HETERO_RETURN_IF_ERROR(
      ExpectDense("decisions", args.decisions, DType::kF64, {kNumUpdateDecisions}));
  int64_t end = 0;
  for (const AdamWSegment& segment : args.segments) {
    if (segment.begin < end || segment.count < 0 || segment.begin + segment.count > n) {
      return absl::InvalidArgumentError(
          absl::StrCat("segment [", segment.begin, ", ", segment.begin + segment.count,
                       ") does not ascend inside [0, ", n, "); the one before ends at ", end));
    }
    end = segment.begin + segment.count;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status AdamW(const AdamWArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(args));
  int64_t num_elements = 0;
  for (const AdamWSegment& segment : args.segments) num_elements += segment.count;
  const double elements = static_cast<double>(num_elements);
  const double element_bytes = 7.0 * static_cast<double>(SizeOf(args.parameter_N.dtype())) +
                               (args.rounded_N.is_null() ? 0 : SizeOf(DType::kBF16));
  OperationScope scope(stream, {"adamw", 16.0 * elements, elements * element_bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AdamWCpu(args), internal::AdamWCuda(args, stream));
}

}  // namespace hetero
