#include "hetero/tensor/ops/exchange_rows/exchange_rows.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {

absl::Status SpreadChoices(const SpreadChoicesArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      ExpectDense("experts_TK", args.experts_TK, DType::kI32, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("counts_E", args.counts_E, DType::kI32, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("numbers_TKP", args.numbers_TKP, DType::kI32, {args.experts_TK.dim(0), kAnyDim}));
  const int64_t top_k = args.experts_TK.dim(1), num_experts = args.counts_E.dim(0);
  const int64_t copies = top_k == 0 ? 0 : args.numbers_TKP.dim(1) / top_k;
  if (copies * top_k != args.numbers_TKP.dim(1)) {
    return absl::InvalidArgumentError(absl::StrCat("numbers_TKP is ", args.numbers_TKP.ToString(),
                                                   "; expected a multiple of ", top_k,
                                                   " columns, the choices"));
  }
  HETERO_RETURN_IF_ERROR(
      ExpectDense("counts_EP", args.counts_EP, DType::kI32, {num_experts * copies}));
  if (args.experts_of_rank < 1 || num_experts % args.experts_of_rank != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(args.experts_of_rank, " experts of a rank do not divide all ", num_experts));
  }
  OperationScope scope(
      stream, {"exchange.spread_choices", 0,
               static_cast<double>(args.experts_TK.num_bytes() + args.numbers_TKP.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SpreadChoicesCpu(args),
                         internal::SpreadChoicesCuda(args, stream));
}

absl::Status SortReceivedRows(const SortReceivedRowsArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("counts_GL", args.counts_GL, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDType("counts_GL", args.counts_GL, DType::kI32));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("offsets_L1", args.offsets_L1, DType::kI32, {args.counts_GL.dim(1) + 1}));
  HETERO_RETURN_IF_ERROR(ExpectDense("received_R", args.received_R, DType::kI32, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("sorted_R", args.sorted_R, DType::kI32, {args.received_R.dim(0)}));
  HETERO_RETURN_IF_ERROR(ExpectDense("scratch_2GL", args.scratch_2GL, DType::kI32,
                                     {2, args.counts_GL.num_elements()}));
  OperationScope scope(
      stream, {"exchange.sort_rows", 0, 2.0 * static_cast<double>(args.sorted_R.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SortReceivedRowsCpu(args),
                         internal::SortReceivedRowsCuda(args, stream));
}

}  // namespace hetero
