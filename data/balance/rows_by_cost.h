#ifndef HETERO_DATA_BALANCE_ROWS_BY_COST_H_
#define HETERO_DATA_BALANCE_ROWS_BY_COST_H_

// Which microbatch of a step has which of its rows, by what the language model's attention costs.
// All else that it computes is the same for every row.

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "hetero/data/row_table.h"
#include "hetero/data/sample_order.h"

namespace hetero::data {

// Of each row of `length` tokens, the sum of the squares of its segments: the samples and the
// padding of a row of several, the whole of a row of one.
std::vector<int64_t> AttentionCosts(const RowTable& rows, int64_t length);

// Rows of a step sorted by cost and cut into its microbatches, the costliest in the first: the
// lanes of a microbatch, which may wait for each other, have rows of like cost. Every other
// microbatch begins with its cheapest row, so that the lanes' sums over the step are near to each
// other. A pure function of the step's rows, whatever the number of lanes. Thread safe.
class RowsByCost : public SampleSequence {
 public:
  // `order`: numbers of rows, without end. Preconditions: each has a cost; `layout` is valid.
  RowsByCost(SampleOrder order, std::vector<int64_t> costs, BatchLayout layout)
      : order_(std::move(order)), costs_(std::move(costs)), layout_(std::move(layout)) {}

  int64_t IndexAt(int64_t global_index) override;

 private:
  using Rows = std::vector<int64_t>;

  std::shared_ptr<const Rows> RowsOf(int64_t step) ABSL_LOCKS_EXCLUDED(mutex_);
  Rows Sort(int64_t step) const;

  const SampleOrder order_;
  const std::vector<int64_t> costs_;
  const BatchLayout layout_;
  absl::Mutex mutex_;
  // Steps and their rows, in the order in which they were asked for.
  std::deque<std::pair<int64_t, std::shared_ptr<const Rows>>> kept_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::data

#endif  // HETERO_DATA_BALANCE_ROWS_BY_COST_H_
