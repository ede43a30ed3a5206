#include "hetero/models/blocks/head/linear_cross_entropy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/check_indices/check_indices.h"
#include "hetero/tensor/ops/cross_entropy/cross_entropy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/embedding/embedding.h"
#include "hetero/tensor/ops/gemm/gemm.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

TensorView RowsOrNull(const TensorView& view, int64_t begin, int64_t count) {
  return view.is_null() ? view : view.Rows(begin, count);
}

absl::Status Validate(const LinearCrossEntropyArgs& args) {
  HETERO_RETURN_IF_ERROR(ExpectShape("hidden", args.hidden_TH, {kAnyDim, kAnyDim}));
  const DType dtype = args.hidden_TH.dtype();
  const int64_t columns = args.hidden_TH.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectShape("weight", args.weight_VH, {kAnyDim, columns}));
  HETERO_RETURN_IF_ERROR(ExpectShape("targets", args.targets_N, {kAnyDim}));
  const int64_t num_rows = args.targets_N.dim(0);
  if (args.rows_N.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectShape("targets", args.targets_N, {args.hidden_TH.dim(0)}));
  } else {
    HETERO_RETURN_IF_ERROR(ExpectDense("rows", args.rows_N, DType::kI32, {num_rows}));
  }
  HETERO_RETURN_IF_ERROR(
      ExpectDense("loss_weight", args.loss_weight_N, ComputeDType(dtype), {num_rows}));
  HETERO_RETURN_IF_ERROR(ExpectDense("loss", args.loss_N, ComputeDType(dtype), {num_rows}));
  if (!args.d_hidden_TH.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrixLike("d_hidden", args.d_hidden_TH, args.hidden_TH));
  }
  if (!args.dweight_VH.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectMatrix("dweight", args.dweight_VH, ComputeDType(dtype),
                                        args.weight_VH.dim(0), columns));
  }
  if (args.chunk_rows.value_or(1) > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("chunk_rows is ", *args.chunk_rows, "; expected at least 1"));
}

// CrossEntropy of columns of which every rank holds a part, from `first_column` on.
absl::Status CrossEntropyOverRanks(const CrossEntropyArgs& args, int64_t first_column,
                                   Communicator& ranks, Stream& stream) {
  Arena& workspace = stream.workspace();
  const ArenaScope arena_scope(workspace);
  const DType compute = args.loss_T.dtype();
  const int64_t num_rows = args.loss_T.dim(0);
  HETERO_ASSIGN_OR_RETURN(const TensorView max_T, workspace.Allocate(compute, {num_rows}));
  HETERO_ASSIGN_OR_RETURN(const TensorView sums_2T, workspace.Allocate(compute, {2, num_rows}));
  HETERO_RETURN_IF_ERROR(CrossEntropyMaximum(args.logits_TV, max_T, stream));
  HETERO_RETURN_IF_ERROR(ranks.AllReduce(max_T, max_T, ReduceOp::kMax, stream, "head.max"));
  HETERO_RETURN_IF_ERROR(CrossEntropySums({.logits_TV = args.logits_TV,
                                           .first_column = first_column,
                                           .targets_T = args.targets_T,
                                           .max_T = max_T,
                                           .sums_2T = sums_2T,
                                           .argmax_T = args.argmax_T},
                                          stream));
  HETERO_RETURN_IF_ERROR(ranks.AllReduce(sums_2T, sums_2T, ReduceOp::kSum, stream, "head.sums"));
  if (!args.argmax_T.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ranks.AllReduce(args.argmax_T, args.argmax_T, ReduceOp::kMin, stream, "head.argmax"));
  }
  HETERO_RETURN_IF_ERROR(CrossEntropyLoss(sums_2T, args.loss_T, stream));
  if (args.weight_T.is_null()) return absl::OkStatus();
  return CrossEntropyGradient(args.logits_TV, first_column, args.targets_T, max_T, sums_2T,
                              args.weight_T, stream);
}

}  // namespace

absl::Status LinearCrossEntropy(const LinearCrossEntropyArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Validate(args)).With("linear_cross_entropy");
  HETERO_RETURN_IF_ERROR(
      CheckIndices({.what = "target",
                    .indices_N = args.targets_N,
                    .limit = args.vocabulary_size.value_or(args.first_row + args.weight_VH.dim(0)),
                    .weight_N = args.loss_weight_N,
                    .outside_1 = args.invalid_targets_1},
                   stream));
  const DType dtype = args.hidden_TH.dtype();
  const int64_t num_rows = args.targets_N.dim(0);
  const int64_t suitable_rows = stream.device().IsCuda() ? 8192 : 256;
  const int64_t chunk_rows = args.chunk_rows.value_or(suitable_rows);
  // Ranks call each other once a chunk: as often as if all tokens counted, so that a step's calls
  // are those that were predicted, whatever its tokens are.
  const int64_t planned_rows = args.tensor_parallel == nullptr ? num_rows : args.hidden_TH.dim(0);
  const int64_t columns = args.hidden_TH.dim(1);
  const bool selected = !args.rows_N.is_null();
  const bool d_hidden_wanted = !args.d_hidden_TH.is_null();
  const bool dweight_wanted = !args.dweight_VH.is_null();

  Arena& workspace = stream.workspace();
  const ArenaScope arena_scope(workspace);
  // Rows begin where a vector of any width may: a vocabulary need not be a multiple of one.
  constexpr int64_t kRowAlignment = 64;
  const int64_t width = args.weight_VH.dim(0);
  const int64_t row = RoundUp(width, kRowAlignment);
  const int64_t buffer_rows = std::min(chunk_rows, num_rows);
  HETERO_ASSIGN_OR_RETURN(const TensorView wide_logits,
                          workspace.Allocate(dtype, {buffer_rows, row}));
  const TensorView logits = wide_logits.Columns(0, width);
  TensorView hidden_rows, d_hidden_rows;
  if (selected) {
    HETERO_ASSIGN_OR_RETURN(hidden_rows, workspace.Allocate(dtype, {buffer_rows, columns}));
    if (d_hidden_wanted) {
      HETERO_ASSIGN_OR_RETURN(d_hidden_rows, workspace.Allocate(dtype, {buffer_rows, columns}));
      HETERO_RETURN_IF_ERROR(Fill(0, args.d_hidden_TH, stream));
    }
  }
  if (dweight_wanted && !args.accumulate && num_rows == 0) {
    HETERO_RETURN_IF_ERROR(Fill(0, args.dweight_VH, stream));
  }

  for (int64_t planned = 0; planned < planned_rows; planned += chunk_rows) {
    const int64_t begin = std::min(planned, num_rows);
    const int64_t count = std::min(chunk_rows, num_rows - begin);
    const TensorView chunk_logits = logits.Rows(0, count);
    ConstTensorView rows, hidden;
    TensorView d_hidden;
    if (selected) {
      rows = args.rows_N.Rows(begin, count);
      HETERO_RETURN_IF_ERROR(GatherRows(args.hidden_TH, rows, hidden_rows.Rows(0, count), stream));
      hidden = hidden_rows.Rows(0, count);
      d_hidden = RowsOrNull(d_hidden_rows, 0, count);
    } else {
      hidden = args.hidden_TH.Rows(begin, count);
      d_hidden = RowsOrNull(args.d_hidden_TH, begin, count);
    }
    HETERO_RETURN_IF_ERROR(Gemm({.a = hidden,
                                 .b = args.weight_VH,
                                 .c = chunk_logits,
                                 .transpose_b = true,
                                 .name = "head.logits"},
                                stream));
    const bool gradient = d_hidden_wanted || dweight_wanted;
    const CrossEntropyArgs of_chunk = {
        .logits_TV = chunk_logits,
        .targets_T = args.targets_N.Rows(begin, count),
        .weight_T = gradient ? args.loss_weight_N.Rows(begin, count) : ConstTensorView(),
        .loss_T = args.loss_N.Rows(begin, count),
        .argmax_T = RowsOrNull(args.argmax_N, begin, count)};
    HETERO_RETURN_IF_ERROR(
        args.tensor_parallel == nullptr
            ? CrossEntropy(of_chunk, stream)
            : CrossEntropyOverRanks(of_chunk, args.first_row, *args.tensor_parallel, stream));
    if (count == 0) continue;
    if (d_hidden_wanted) {
      HETERO_RETURN_IF_ERROR(Gemm(
          {.a = chunk_logits, .b = args.weight_VH, .c = d_hidden, .name = "head.backward_input"},
          stream));
      if (selected) {
        HETERO_RETURN_IF_ERROR(ScatterRows(d_hidden, rows, args.d_hidden_TH, stream));
      }
    }
    if (dweight_wanted) {
      HETERO_RETURN_IF_ERROR(Gemm({.a = chunk_logits,
                                   .b = hidden,
                                   .c = args.dweight_VH,
                                   .transpose_a = true,
                                   .beta = args.accumulate || begin > 0 ? 1.0 : 0.0,
                                   .name = "head.backward_weight"},
                                  stream));
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero
