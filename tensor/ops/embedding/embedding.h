#ifndef HETERO_TENSOR_OPS_EMBEDDING_EMBEDDING_H_
#define HETERO_TENSOR_OPS_EMBEDDING_EMBEDDING_H_

// Rows addressed by index: table lookup, and the moves that align rows of several sources in one
// sequence. Each output row is written once.
//
// Shape letters: V rows of the table held here, N indices, T rows of the sequence, H columns.
// Matrices may have gaps between rows; indices are dense i32. Positions are trusted.
// Errors: INVALID_ARGUMENT naming the operand.

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct EmbeddingForwardArgs {
  ConstTensorView weight_VH;  // rows [first_row, first_row + V) of the whole table
  int64_t first_row = 0;
  std::optional<int64_t> vocabulary_size;  // rows of the whole table; unset: it ends here
  ConstTensorView ids_N;                   // each in [0, vocabulary_size)
  ConstTensorView positions_N;  // row of `out` for each id, distinct; null: the n-th id, row n
  TensorView out_TH;            // rows without an id are left alone; T = N without positions
  TensorView invalid_ids_1;     // i64: a GPU adds the number of ids that are not; null: trusted
};

// out[position] = weight[id]; zero where another shard of the table holds the id, so that the sum
// over shards is the lookup.
// Errors: on the CPU INVALID_ARGUMENT "token id 600 at 17; expected 0 to 511".
absl::Status EmbeddingForward(const EmbeddingForwardArgs& args, Stream& stream);

struct EmbeddingBackwardArgs {
  ConstTensorView d_out_TH;
  int64_t first_row = 0;
  ConstTensorView ids_N;
  ConstTensorView positions_N;  // as forward
  TensorView dweight_VH;        // in the compute dtype
  bool accumulate = true;       // add to dweight instead of overwriting it
};

// dweight[id] += d_out[position], summed in an order that the ids alone fix.
absl::Status EmbeddingBackward(const EmbeddingBackwardArgs& args, Stream& stream);

// out[n] = in[positions[n]].
absl::Status GatherRows(const ConstTensorView& in_TH, const ConstTensorView& positions_N,
                        const TensorView& out_NH, Stream& stream);

// out[positions[n]] = in[n]; the other rows are left alone. Positions are distinct.
absl::Status ScatterRows(const ConstTensorView& in_NH, const ConstTensorView& positions_N,
                         const TensorView& out_TH, Stream& stream);

namespace internal {

// Preconditions: validated arguments.
absl::Status EmbeddingForwardCpu(const EmbeddingForwardArgs& args);
absl::Status EmbeddingBackwardCpu(const EmbeddingBackwardArgs& args);
absl::Status GatherRowsCpu(const ConstTensorView& in_TH, const ConstTensorView& positions_N,
                           const TensorView& out_NH);
absl::Status ScatterRowsCpu(const ConstTensorView& in_NH, const ConstTensorView& positions_N,
                            const TensorView& out_TH);

// Of a GPU, which sorts the ids by their row of the table: rows_2N and order_2N i32 [2, N],
// `counts` that of counting_sort.h for a pass of RadixPlan(V + 1), parts_C2H f32 [chunks, 2, H].
struct EmbeddingBackwardScratch {
  static constexpr int64_t kChunk = 32;  // sorted ids that are summed together

  TensorView rows_2N, order_2N, counts, parts_C2H;
};

absl::Status EmbeddingForwardCuda(const EmbeddingForwardArgs& args, Stream& stream);
absl::Status EmbeddingBackwardCuda(const EmbeddingBackwardArgs& args,
                                   const EmbeddingBackwardScratch& scratch, Stream& stream);
absl::Status GatherRowsCuda(const ConstTensorView& in_TH, const ConstTensorView& positions_N,
                            const TensorView& out_NH, Stream& stream);
absl::Status ScatterRowsCuda(const ConstTensorView& in_NH, const ConstTensorView& positions_N,
                             const TensorView& out_TH, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_EMBEDDING_EMBEDDING_H_
