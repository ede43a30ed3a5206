#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status Validate(const GradientStatisticsArgs& args) {
  HETERO_RETURN_IF_ERROR(
      ExpectDense("gradient", args.gradient_N, args.gradient_N.dtype(), {kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("totals", args.totals_2, DType::kF64, {2}));
  HETERO_RETURN_IF_ERROR(ExpectDense("non-finite", args.non_finite_P, DType::kF64, {kAnyDim}));
  const int64_t n = args.gradient_N.dim(0);
  const int64_t num_parameters = args.non_finite_P.dim(0);
  int64_t end = 0;
  for (const StatisticsRange& range : args.ranges) {
    if (range.begin < end || range.count < 0 || range.count > n - range.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat("range [", range.begin, ", ", range.begin + range.count,
                       ") does not ascend inside [0, ", n, "); the one before ends at ", end));
    }
    end = range.begin + range.count;
    if (range.parameter < 0 || range.parameter >= num_parameters) {
      return absl::InvalidArgumentError(
          absl::StrCat("range [", range.begin, ", ", end, ") is of parameter ", range.parameter,
                       "; expected one in [0, ", num_parameters, ")"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

namespace internal {

StatisticsCut StatisticsCut::Of(std::span<const StatisticsRange> ranges) {
  // What a block has in flight at once: 16 KB.
  constexpr int64_t kVectorsAtOnce = 1024;
  // Enough to fill a GPU several times, few enough to be summed in no time.
  constexpr int64_t kMaxBlocks = 4096;
  int64_t num_vectors = 0;
  for (const StatisticsRange& range : ranges) num_vectors += NumVectors(range);
  StatisticsCut cut = {.vectors_per_block =
                           kVectorsAtOnce *
                           std::max<int64_t>(1, CeilDiv(num_vectors, kVectorsAtOnce * kMaxBlocks))};
  for (const StatisticsRange& range : ranges) cut.num_blocks += cut.NumBlocks(range);
  return cut;
}

}  // namespace internal

absl::Status GradientStatistics(const GradientStatisticsArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(args));
  ArenaScope scratch(stream.workspace());
  internal::StatisticsCut cut;
  TensorView partials;
  if (stream.device().IsCuda()) {
    cut = internal::StatisticsCut::Of(args.ranges);
    HETERO_ASSIGN_OR_RETURN(partials,
                            stream.workspace().Allocate(DType::kF64, {cut.num_blocks, 2}));
  }
  int64_t num_elements = 0;
  for (const StatisticsRange& range : args.ranges) num_elements += range.count;
  const double elements = static_cast<double>(num_elements);
  OperationScope scope(stream, {"gradient_statistics", 2.0 * elements,
                                elements * static_cast<double>(SizeOf(args.gradient_N.dtype()))});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GradientStatisticsCpu(args),
                         internal::GradientStatisticsCuda(args, cut, partials, stream));
}

}  // namespace hetero
