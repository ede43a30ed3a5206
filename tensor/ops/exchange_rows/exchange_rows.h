#ifndef HETERO_TENSOR_OPS_EXCHANGE_ROWS_EXCHANGE_ROWS_H_
#define HETERO_TENSOR_OPS_EXCHANGE_ROWS_EXCHANGE_ROWS_H_

// Orders of rows that ranks with different experts exchange. Experts lie on owners, L consecutive
// ones each; the matrices of an owner's experts may be divided among P consecutive ranks, which all
// get every row of the owner. G ranks in all.
//
// T tokens, K choices a token, E experts, R rows. T = 0 and R = 0 are legal.
// Errors: INVALID_ARGUMENT naming the operand whose shape or dtype does not fit.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// One choice of expert e becomes P: number ((e / L) P + p) L + e % L for p in [0, P), so that
// sorting by number sorts by (rank, its expert).
struct SpreadChoicesArgs {
  ConstTensorView experts_TK;   // i32; -1 for none
  ConstTensorView counts_E;     // i32
  int64_t experts_of_rank = 0;  // L, which divides E
  TensorView numbers_TKP;       // i32 [T, K P]; -1 for none
  TensorView counts_EP;         // i32 [E P], by number
};
absl::Status SpreadChoices(const SpreadChoicesArgs& args, Stream& stream);

// Rows arrive at a rank by (source rank, expert) and are computed by (expert, source rank). Of all
// that arrive, this is about the rows [first, first + R).
// Precondition: so many arrive.
struct SortReceivedRowsArgs {
  ConstTensorView counts_GL;  // i32: rows of each source for each of this rank's experts; rows may
                              // have gaps
  int64_t first = 0;
  TensorView offsets_L1;   // i32[L + 1]: expert e owns sorted rows [offsets[e], offsets[e + 1])
  TensorView received_R;   // i32: of a sorted row, which received row it is, from 0
  TensorView sorted_R;     // i32: of a received row, which sorted row it is
  TensorView scratch_2GL;  // i32 [2, G L], overwritten
};
absl::Status SortReceivedRows(const SortReceivedRowsArgs& args, Stream& stream);

namespace internal {

absl::Status SpreadChoicesCpu(const SpreadChoicesArgs& args);
absl::Status SortReceivedRowsCpu(const SortReceivedRowsArgs& args);

absl::Status SpreadChoicesCuda(const SpreadChoicesArgs& args, Stream& stream);
absl::Status SortReceivedRowsCuda(const SortReceivedRowsArgs& args, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_EXCHANGE_ROWS_EXCHANGE_ROWS_H_
