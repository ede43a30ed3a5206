#ifndef HETERO_MODELS_BLOCKS_MOE_EXCHANGE_PLAN_H_
#define HETERO_MODELS_BLOCKS_MOE_EXCHANGE_PLAN_H_

// Which rows the members of a group give each other, in how many rounds: arithmetic that every
// member does alike on the same counts. All rows for a member lie in the order of source, then
// expert; in a round it takes the next of them, as many as it has room for.

#include <cstdint>
#include <span>
#include <vector>

#include "hetero/comm/all_to_all_rows.h"

namespace hetero {

// What one member sends and takes in a round.
struct ExchangeRound {
  std::vector<IndexRange> own;      // by member: of this member's rows, sorted by (member, expert)
  std::vector<IndexRange> arrived;  // by member: where its rows lie among those that arrive now
  int64_t first_arrived = 0;        // of all rows for this member, those before this round
  int64_t num_arrived = 0;
};

class ExchangePlan {
 public:
  ExchangePlan() = default;

  // rows_GG: [source, destination]; bounds_G: rows that a member takes at once, at least one.
  ExchangePlan(int64_t rank, std::vector<int64_t> rows_GG, std::vector<int64_t> bounds_G);

  // table_GE1: of each member, its rows for each expert and then its bound. A member has
  // `experts_of_rank` consecutive experts, as have the `copies` members that share them.
  static ExchangePlan Make(std::span<const int32_t> table_GE1, int64_t size, int64_t rank,
                           int64_t experts_of_rank, int64_t copies);

  // What a run without excess does, where no counts are: `own_rows` of each member spread evenly.
  static ExchangePlan Even(int64_t size, int64_t rank, int64_t own_rows, int64_t bound);

  int64_t num_rounds() const { return num_rounds_; }  // at least 1
  ExchangeRound Round(int64_t index) const;

 private:
  int64_t size() const { return static_cast<int64_t>(bounds_G_.size()); }
  // Of the rows of `source` for `destination`, those of a round.
  IndexRange InRound(int64_t index, int64_t source, int64_t destination) const;

  int64_t rank_ = 0;
  std::vector<int64_t> rows_GG_;
  std::vector<int64_t> bounds_G_;
  int64_t num_rounds_ = 1;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_MOE_EXCHANGE_PLAN_H_
