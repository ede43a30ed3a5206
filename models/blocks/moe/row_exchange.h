#ifndef HETERO_MODELS_BLOCKS_MOE_ROW_EXCHANGE_H_
#define HETERO_MODELS_BLOCKS_MOE_ROW_EXCHANGE_H_

// Takes tokens' rows to the ranks that have their experts, and back. The ranks of a group have the
// experts in order, each owner's on `copies` consecutive ranks that share their width: a row goes
// to all of them, and what comes back are parts of a sum.
//
// Shape letters: G ranks, E experts of the layer, L experts of a rank, P copies, T tokens of this
// rank, K choices a token, O rows of this rank, K P times its tokens, sorted by (rank, its expert);
// R rows that arrive, sorted by expert.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/models/blocks/moe/exchange_plan.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

class RowExchange {
 public:
  RowExchange() = default;

  // `group` outlives the result; null: this rank has all experts, whole, and nothing is called.
  // Collectives are called `name` and what they bring. `ledger` outlives the result.
  // Errors: INVALID_ARGUMENT where the ranks are not those that the experts are divided among;
  // those of PinnedBuffer.
  static absl::StatusOr<RowExchange> Create(Communicator* group, int64_t num_experts,
                                            int64_t experts_of_rank, std::string_view name,
                                            Device device, MemoryLedger& ledger);

  bool alone() const { return group_ == nullptr; }
  int64_t size() const { return alone() ? 1 : group_->size(); }
  int64_t rank() const { return alone() ? 0 : group_->rank().value(); }
  int64_t copies() const { return copies_; }
  int64_t num_experts() const { return num_experts_; }

  // All that follows is for a group.

  // Tells the group this rank's counts, i32, and how many rows it takes at once, and reads the
  // group's into `table_GE1` and to the host, which waits in Plan: queue what needs no rows before
  // that. Of one table at a time: Plan reads it before the next is gathered.
  absl::Status GatherCounts(TensorView counts_E1, int64_t bound, TensorView table_GE1,
                            Stream& stream) const;
  absl::StatusOr<ExchangePlan> Plan(const ConstTensorView& table_GE1, int64_t own_rows,
                                    int64_t bound, Stream& stream) const;

  // How the rows of a round are sorted: operands of SortReceivedRows.
  absl::Status Sort(const ExchangeRound& round, const ConstTensorView& table_GE1,
                    TensorView offsets_L1, TensorView received_R, TensorView sorted_R,
                    TensorView scratch_2GL, Stream& stream) const;
  absl::StatusOr<TensorView> MakeScratch(Arena& arena) const;

  // Fills own rows of a round: row o is that of token tokens_O[o].
  static absl::Status GatherOwn(const ExchangeRound& round, const ConstTensorView& x_TH,
                                const ConstTensorView& tokens_O, TensorView own_OH, Stream& stream);

  // Rows of a round, or a number each, to their experts' ranks, and what was made of them back to
  // where they were.
  absl::Status Send(const ExchangeRound& round, const ConstTensorView& own_O, TensorView arrived_R,
                    Stream& stream, std::string_view what) const;
  absl::Status Return(const ExchangeRound& round, const ConstTensorView& arrived_R,
                      TensorView own_O, Stream& stream, std::string_view what) const;

 private:
  std::string Name(std::string_view what) const;

  Communicator* group_ = nullptr;
  int64_t num_experts_ = 0;
  int64_t experts_of_rank_ = 0;
  int64_t copies_ = 1;
  std::string name_;
  PinnedBuffer counts_;  // the group's, on the host
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_ROW_EXCHANGE_H_
