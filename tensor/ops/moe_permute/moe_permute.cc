#include "hetero/tensor/ops/moe_permute/moe_permute.h"

#include <cstdint>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/counting_sort.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// Rows of choices, of which some may have none.
absl::Status ExpectAtMostRows(std::string_view operand, const ConstTensorView& view,
                              int64_t num_choices) {
  if (view.dim(0) <= num_choices) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      operand, " is ", view.ToString(), "; expected at most ", num_choices, " rows, the choices"));
}

}  // namespace

absl::Status AssignExpertRows(const AssignExpertRowsArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(
      ExpectDense("experts_TK", args.experts_TK, DType::kI32, {kAnyDim, kAnyDim}));
  const int64_t num_tokens = args.experts_TK.dim(0);
  const int64_t top_k = args.experts_TK.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectDense("counts_E", args.counts_E, DType::kI32, {kAnyDim}));
  const int64_t num_experts = args.counts_E.dim(0);
  HETERO_RETURN_IF_ERROR(
      ExpectDense("offsets_E1", args.offsets_E1, DType::kI32, {num_experts + 1}));
  HETERO_RETURN_IF_ERROR(ExpectDense("rows_TK", args.rows_TK, DType::kI32, {num_tokens, top_k}));
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens_R", args.tokens_R, DType::kI32, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectAtMostRows("tokens_R", args.tokens_R, num_tokens * top_k));
  ArenaScope scratch_scope(stream.workspace());
  const int64_t scratch_rows =
      stream.device().IsCuda() ? NumSortChunks(args.experts_TK.num_elements()) : 1;
  HETERO_ASSIGN_OR_RETURN(const TensorView scratch,
                          stream.workspace().Allocate(DType::kI32, {scratch_rows, num_experts}));
  OperationScope scope(stream, {"moe.assign_rows", 0, 3.0 * args.experts_TK.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AssignExpertRowsCpu(args, scratch.At(0)),
                         internal::AssignExpertRowsCuda(args, scratch, stream));
}

absl::Status GatherTokenRows(const ConstTensorView& x_TH, const ConstTensorView& tokens_R,
                             const TensorView& out_RH, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("x_TH", x_TH, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens_R", tokens_R, DType::kI32, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("out_RH", out_RH, x_TH.dtype(), {tokens_R.dim(0), x_TH.dim(1)}));
  OperationScope scope(stream, {"moe.gather_rows", 0, 2.0 * out_RH.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GatherTokenRowsCpu(x_TH, tokens_R, out_RH),
                         internal::GatherTokenRowsCuda(x_TH, tokens_R, out_RH, stream));
}

absl::Status ScatterTokenRows(const ConstTensorView& x_TH, const ConstTensorView& rows_TK,
                              const TensorView& out_RH, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("rows_TK", rows_TK, DType::kI32, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectShape("x_TH", x_TH, {rows_TK.dim(0), kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("out_RH", out_RH, x_TH.dtype(), {kAnyDim, x_TH.dim(1)}));
  HETERO_RETURN_IF_ERROR(ExpectAtMostRows("out_RH", out_RH, rows_TK.num_elements()));
  OperationScope scope(
      stream, {"moe.scatter_rows", 0, static_cast<double>(x_TH.num_bytes() + out_RH.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::ScatterTokenRowsCpu(x_TH, rows_TK, out_RH),
                         internal::ScatterTokenRowsCuda(x_TH, rows_TK, out_RH, stream));
}

absl::Status SumTokenRows(const ConstTensorView& rows_RH, const ConstTensorView& rows_TK,
                          const ConstTensorView& addend_TH, const TensorView& out_TH,
                          Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("rows_TK", rows_TK, DType::kI32, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectShape("out_TH", out_TH, {rows_TK.dim(0), kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("rows_RH", rows_RH, out_TH.dtype(), {kAnyDim, out_TH.dim(1)}));
  HETERO_RETURN_IF_ERROR(ExpectAtMostRows("rows_RH", rows_RH, rows_TK.num_elements()));
  double bytes = static_cast<double>(rows_RH.num_bytes() + out_TH.num_bytes());
  if (!addend_TH.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrixLike("addend_TH", addend_TH, out_TH));
    bytes += static_cast<double>(addend_TH.num_bytes());
  }
  OperationScope scope(stream,
                       {"moe.sum_rows", static_cast<double>(rows_RH.num_elements()), bytes});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::SumTokenRowsCpu(rows_RH, rows_TK, addend_TH, out_TH),
                         internal::SumTokenRowsCuda(rows_RH, rows_TK, addend_TH, out_TH, stream));
}

absl::Status ScatterToRows(const ConstTensorView& values_TK, const ConstTensorView& rows_TK,
                           const TensorView& out_R, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("rows_TK", rows_TK, DType::kI32, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("values_TK", values_TK, values_TK.dtype(), {rows_TK.dim(0), rows_TK.dim(1)}));
  HETERO_RETURN_IF_ERROR(ExpectDense("out_R", out_R, values_TK.dtype(), {kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectAtMostRows("out_R", out_R, rows_TK.num_elements()));
  OperationScope scope(stream,
                       {"moe.scatter_values", 0,
                        static_cast<double>(rows_TK.num_bytes() + 2 * values_TK.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::ScatterToRowsCpu(values_TK, rows_TK, out_R),
                         internal::ScatterToRowsCuda(values_TK, rows_TK, out_R, stream));
}

absl::Status GatherFromRows(const ConstTensorView& values_R, const ConstTensorView& rows_TK,
                            const TensorView& out_TK, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectDense("rows_TK", rows_TK, DType::kI32, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("values_R", values_R, values_R.dtype(), {kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectAtMostRows("values_R", values_R, rows_TK.num_elements()));
  HETERO_RETURN_IF_ERROR(
      ExpectDense("out_TK", out_TK, values_R.dtype(), {rows_TK.dim(0), rows_TK.dim(1)}));
  OperationScope scope(stream,
                       {"moe.gather_values", 0,
                        static_cast<double>(rows_TK.num_bytes() + 2 * values_R.num_bytes())});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GatherFromRowsCpu(values_R, rows_TK, out_TK),
                         internal::GatherFromRowsCuda(values_R, rows_TK, out_TK, stream));
}

}  // namespace hetero
