#ifndef HETERO_TENSOR_OPS_MOE_PERMUTE_MOE_PERMUTE_H_
#define HETERO_TENSOR_OPS_MOE_PERMUTE_MOE_PERMUTE_H_

// Moves tokens to expert-sorted rows and back. Every one of a token's K choices is a row; rows are
// sorted by (expert, token), so an expert's rows are consecutive and its tokens ascend. Padding
// chooses nothing, K times -1, and has no rows.
//
// T tokens, K choices a token, E experts, H features; R rows, K times the tokens that are no
// padding. Gathering is the backward of summing and the other way round. T = 0 is legal.
// Errors: INVALID_ARGUMENT naming the operand whose shape or dtype does not fit.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// A stable counting sort of the choices.
// Precondition: counts_E counts the values of experts_TK, which are in [0, E) for R choices and -1
// for the others.
struct AssignExpertRowsArgs {
  ConstTensorView experts_TK;  // i32
  ConstTensorView counts_E;    // i32
  TensorView offsets_E1;       // i32[E + 1]: expert e owns rows [offsets[e], offsets[e + 1])
  TensorView rows_TK;          // i32: row of a choice, -1 for none
  TensorView tokens_R;         // i32: token of a row
};
absl::Status AssignExpertRows(const AssignExpertRowsArgs& args, Stream& stream);

// out_r = x of token tokens_r. Rows of x may have gaps.
absl::Status GatherTokenRows(const ConstTensorView& x_TH, const ConstTensorView& tokens_R,
                             const TensorView& out_RH, Stream& stream);

// The same rows from where those of a token lie, which reads a token once.
// Precondition: every row is that of one choice.
absl::Status ScatterTokenRows(const ConstTensorView& x_TH, const ConstTensorView& rows_TK,
                              const TensorView& out_RH, Stream& stream);

// out_t = addend_t + the sum of token t's rows, if it has any, taken from its last choice to its
// first, in the compute type with one rounding. `addend_TH` null: none; it may be `out_TH`. Rows of
// addend and out may have gaps.
absl::Status SumTokenRows(const ConstTensorView& rows_RH, const ConstTensorView& rows_TK,
                          const ConstTensorView& addend_TH, const TensorView& out_TH,
                          Stream& stream);

// One number a choice, such as its probability: to rows, and back, 0 for a choice without a row.
absl::Status ScatterToRows(const ConstTensorView& values_TK, const ConstTensorView& rows_TK,
                           const TensorView& out_R, Stream& stream);
absl::Status GatherFromRows(const ConstTensorView& values_R, const ConstTensorView& rows_TK,
                            const TensorView& out_TK, Stream& stream);

namespace internal {

absl::Status AssignExpertRowsCpu(const AssignExpertRowsArgs& args, const TensorView& cursors_E);
absl::Status GatherTokenRowsCpu(const ConstTensorView& x_TH, const ConstTensorView& tokens_R,
                                const TensorView& out_RH);
absl::Status ScatterTokenRowsCpu(const ConstTensorView& x_TH, const ConstTensorView& rows_TK,
                                 const TensorView& out_RH);
absl::Status SumTokenRowsCpu(const ConstTensorView& rows_RH, const ConstTensorView& rows_TK,
                             const ConstTensorView& addend_TH, const TensorView& out_TH);
absl::Status ScatterToRowsCpu(const ConstTensorView& values_TK, const ConstTensorView& rows_TK,
                              const TensorView& out_R);
absl::Status GatherFromRowsCpu(const ConstTensorView& values_R, const ConstTensorView& rows_TK,
                               const TensorView& out_TK);

// `scratch_CE` i32 [NumSortChunks(K T), E].
absl::Status AssignExpertRowsCuda(const AssignExpertRowsArgs& args, const TensorView& scratch_CE,
                                  Stream& stream);
absl::Status GatherTokenRowsCuda(const ConstTensorView& x_TH, const ConstTensorView& tokens_R,
                                 const TensorView& out_RH, Stream& stream);
absl::Status ScatterTokenRowsCuda(const ConstTensorView& x_TH, const ConstTensorView& rows_TK,
                                  const TensorView& out_RH, Stream& stream);
absl::Status SumTokenRowsCuda(const ConstTensorView& rows_RH, const ConstTensorView& rows_TK,
                              const ConstTensorView& addend_TH, const TensorView& out_TH,
                              Stream& stream);
absl::Status ScatterToRowsCuda(const ConstTensorView& values_TK, const ConstTensorView& rows_TK,
                               const TensorView& out_R, Stream& stream);
absl::Status GatherFromRowsCuda(const ConstTensorView& values_R, const ConstTensorView& rows_TK,
                                const TensorView& out_TK, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_MOE_PERMUTE_MOE_PERMUTE_H_
