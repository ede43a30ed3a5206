#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Operations per logit, an exponential counted as one.
constexpr double kMaximumFlops = 1;
constexpr double kSumFlops = 3;
constexpr double kGradientFlops = 2;

absl::Status ExpectLogits(const ConstTensorView& logits_TV) {
  return ExpectShape("logits", logits_TV, {kAnyDim, kAnyDim});
}

// A vector of one value a row of the logits.
absl::Status ExpectPerRow(std::string_view operand, const ConstTensorView& view,
                          const ConstTensorView& logits_TV) {
  return ExpectDense(operand, view, ComputeDType(logits_TV.dtype()), {logits_TV.dim(0)});
}

absl::Status ExpectTargets(const ConstTensorView& targets_T, const ConstTensorView& logits_TV) {
  return ExpectDense("targets", targets_T, DType::kI32, {logits_TV.dim(0)});
}

absl::Status ExpectArgmaxOrNull(const ConstTensorView& argmax_T, const ConstTensorView& logits_TV) {
  return argmax_T.is_null() ? absl::OkStatus()
                            : ExpectDense("argmax", argmax_T, DType::kI32, {logits_TV.dim(0)});
}

absl::Status ExpectSums(const ConstTensorView& sums_2T, const ConstTensorView& logits_TV) {
  return ExpectDense("sums", sums_2T, ComputeDType(logits_TV.dtype()), {2, logits_TV.dim(0)});
}

}  // namespace

absl::Status CrossEntropy(const CrossEntropyArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectLogits(args.logits_TV));
  if (args.logits_TV.dim(1) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("logits is ", args.logits_TV.ToString(), "; expected at least one column"));
  }
  HETERO_RETURN_IF_ERROR(ExpectTargets(args.targets_T, args.logits_TV));
  const bool gradient = !args.weight_T.is_null();
  if (gradient) {
    HETERO_RETURN_IF_ERROR(ExpectPerRow("weight", args.weight_T, args.logits_TV));
  }
  HETERO_RETURN_IF_ERROR(ExpectPerRow("loss", args.loss_T, args.logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectArgmaxOrNull(args.argmax_T, args.logits_TV));
  const double flops = kMaximumFlops + kSumFlops + (gradient ? kGradientFlops : 0);
  OperationScope scope(stream, {"cross_entropy", flops * args.logits_TV.num_elements(),
                                (gradient ? 2.0 : 1.0) * args.logits_TV.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CrossEntropyCpu(args),
                         internal::CrossEntropyCuda(args, stream));
}

absl::Status CrossEntropyMaximum(const ConstTensorView& logits_TV, const TensorView& max_T,
                                 Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectLogits(logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectPerRow("max", max_T, logits_TV));
  OperationScope scope(stream, {"cross_entropy.maximum", kMaximumFlops * logits_TV.num_elements(),
                                1.0 * logits_TV.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CrossEntropyMaximumCpu(logits_TV, max_T),
                         internal::CrossEntropyMaximumCuda(logits_TV, max_T, stream));
}

absl::Status CrossEntropySums(const CrossEntropySumsArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectLogits(args.logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectTargets(args.targets_T, args.logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectPerRow("max", args.max_T, args.logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectSums(args.sums_2T, args.logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectArgmaxOrNull(args.argmax_T, args.logits_TV));
  OperationScope scope(stream, {"cross_entropy.sums", kSumFlops * args.logits_TV.num_elements(),
                                1.0 * args.logits_TV.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CrossEntropySumsCpu(args),
                         internal::CrossEntropySumsCuda(args, stream));
}

absl::Status CrossEntropyLoss(const ConstTensorView& sums_2T, const TensorView& loss_T,
                              Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("sums", sums_2T, {2, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("sums", sums_2T, loss_T.dtype(), {2, sums_2T.dim(1)}));
  HETERO_RETURN_IF_ERROR(ExpectDense("loss", loss_T, sums_2T.dtype(), {sums_2T.dim(1)}));
  OperationScope scope(
      stream, {"cross_entropy.loss", 2.0 * loss_T.num_elements(), 3.0 * loss_T.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CrossEntropyLossCpu(sums_2T, loss_T),
                         internal::CrossEntropyLossCuda(sums_2T, loss_T, stream));
}

absl::Status CrossEntropyGradient(const TensorView& logits_TV, int64_t first_column,
                                  const ConstTensorView& targets_T, const ConstTensorView& max_T,
                                  const ConstTensorView& sums_2T, const ConstTensorView& weight_T,
                                  Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectLogits(logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectTargets(targets_T, logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectPerRow("max", max_T, logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectSums(sums_2T, logits_TV));
  HETERO_RETURN_IF_ERROR(ExpectPerRow("weight", weight_T, logits_TV));
  OperationScope scope(stream,
                       {"cross_entropy.gradient", (1 + kGradientFlops) * logits_TV.num_elements(),
                        2.0 * logits_TV.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream,
                         internal::CrossEntropyGradientCpu(logits_TV, first_column, targets_T,
                                                           max_T, sums_2T, weight_T),
                         internal::CrossEntropyGradientCuda(logits_TV, first_column, targets_T,
                                                            max_T, sums_2T, weight_T, stream));
}

absl::Status AddWeightedLoss(const ConstTensorView& loss_T, const ConstTensorView& weight_T,
                             const TensorView& totals_2, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("loss", loss_T, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("weight", weight_T, loss_T.dtype(), {loss_T.dim(0)}));
  HETERO_RETURN_IF_ERROR(ExpectDense("totals", totals_2, DType::kF64, {2}));
  OperationScope scope(
      stream, {"cross_entropy.total", 2.0 * loss_T.num_elements(), 2.0 * loss_T.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AddWeightedLossCpu(loss_T, weight_T, totals_2),
                         internal::AddWeightedLossCuda(loss_T, weight_T, totals_2, stream));
}

}  // namespace hetero
