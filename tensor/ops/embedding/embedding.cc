#include "hetero/tensor/ops/embedding/embedding.h"

#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/check_indices/check_indices.h"
#include "hetero/tensor/ops/counting_sort.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

// The ids, and where their rows are among `num_rows`.
absl::Status ValidatePlaces(const ConstTensorView& ids_N, const ConstTensorView& positions_N,
                            int64_t num_rows) {
  if (positions_N.is_null()) return ExpectDense("ids", ids_N, DType::kI32, {num_rows});
  HETERO_RETURN_IF_ERROR(ExpectDense("ids", ids_N, DType::kI32, {kAnyDim}));
  return ExpectDense("positions", positions_N, DType::kI32, {ids_N.dim(0)});
}

absl::StatusOr<internal::EmbeddingBackwardScratch> AllocateScratch(
    const EmbeddingBackwardArgs& args, Arena& workspace) {
  using internal::EmbeddingBackwardScratch;
  const int64_t num_ids = args.ids_N.dim(0);
  const int64_t num_chunks = CeilDiv(num_ids, EmbeddingBackwardScratch::kChunk);
  const RadixPlan plan(args.dweight_VH.dim(0) + 1);
  EmbeddingBackwardScratch scratch;
  HETERO_ASSIGN_OR_RETURN(scratch.rows_2N, workspace.Allocate(DType::kI32, {2, num_ids}));
  HETERO_ASSIGN_OR_RETURN(scratch.order_2N, workspace.Allocate(DType::kI32, {2, num_ids}));
  HETERO_ASSIGN_OR_RETURN(
      scratch.counts, workspace.Allocate(DType::kI32, {NumSortChunks(num_ids), plan.num_bins()}));
  HETERO_ASSIGN_OR_RETURN(scratch.parts_C2H,
                          workspace.Allocate(DType::kF32, {num_chunks, 2, args.dweight_VH.dim(1)}));
  return scratch;
}

}  // namespace

absl::Status EmbeddingForward(const EmbeddingForwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("weight", args.weight_VH, {kAnyDim, kAnyDim}));
  const DType dtype = args.weight_VH.dtype();
  const int64_t columns = args.weight_VH.dim(1);
  HETERO_RETURN_IF_ERROR(ExpectMatrix("out", args.out_TH, dtype, kAnyDim, columns));
  HETERO_RETURN_IF_ERROR(ValidatePlaces(args.ids_N, args.positions_N, args.out_TH.dim(0)));
  HETERO_RETURN_IF_ERROR(
      CheckIndices({.what = "token id",
                    .indices_N = args.ids_N,
                    .limit = args.vocabulary_size.value_or(args.first_row + args.weight_VH.dim(0)),
                    .outside_1 = args.invalid_ids_1},
                   stream));
  const double row_bytes = columns * SizeOf(dtype);
  OperationScope scope(stream, {"embedding.forward", 0, 2 * row_bytes * args.ids_N.dim(0)});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::EmbeddingForwardCpu(args),
                         internal::EmbeddingForwardCuda(args, stream));
}

absl::Status EmbeddingBackward(const EmbeddingBackwardArgs& args, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("d_out", args.d_out_TH, {kAnyDim, kAnyDim}));
  const DType dtype = args.d_out_TH.dtype();
  const int64_t columns = args.d_out_TH.dim(1);
  HETERO_RETURN_IF_ERROR(
      ExpectMatrix("dweight", args.dweight_VH, ComputeDType(dtype), kAnyDim, columns));
  HETERO_RETURN_IF_ERROR(ValidatePlaces(args.ids_N, args.positions_N, args.d_out_TH.dim(0)));
  ArenaScope arena_scope(stream.workspace());
  internal::EmbeddingBackwardScratch scratch;
  if (stream.device().IsCuda()) {
    HETERO_ASSIGN_OR_RETURN(scratch, AllocateScratch(args, stream.workspace()));
  }
  const double elements = 1.0 * columns * args.ids_N.dim(0);
  OperationScope scope(stream, {"embedding.backward", elements, 3 * elements * SizeOf(dtype)});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::EmbeddingBackwardCpu(args),
                         internal::EmbeddingBackwardCuda(args, scratch, stream));
}

absl::Status GatherRows(const ConstTensorView& in_TH, const ConstTensorView& positions_N,
                        const TensorView& out_NH, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("in", in_TH, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("positions", positions_N, DType::kI32, {kAnyDim}));
  HETERO_RETURN_IF_ERROR(
      ExpectMatrix("out", out_NH, in_TH.dtype(), positions_N.dim(0), in_TH.dim(1)));
  OperationScope scope(stream, {"gather_rows", 0, 2.0 * out_NH.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::GatherRowsCpu(in_TH, positions_N, out_NH),
                         internal::GatherRowsCuda(in_TH, positions_N, out_NH, stream));
}

absl::Status ScatterRows(const ConstTensorView& in_NH, const ConstTensorView& positions_N,
                         const TensorView& out_TH, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectShape("in", in_NH, {kAnyDim, kAnyDim}));
  HETERO_RETURN_IF_ERROR(ExpectDense("positions", positions_N, DType::kI32, {in_NH.dim(0)}));
  HETERO_RETURN_IF_ERROR(ExpectMatrix("out", out_TH, in_NH.dtype(), kAnyDim, in_NH.dim(1)));
  OperationScope scope(stream, {"scatter_rows", 0, 2.0 * in_NH.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::ScatterRowsCpu(in_NH, positions_N, out_TH),
                         internal::ScatterRowsCuda(in_NH, positions_N, out_TH, stream));
}

}  // namespace hetero
