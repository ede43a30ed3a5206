#ifndef HETERO_GRID_ROW_PLAN_H_
#define HETERO_GRID_ROW_PLAN_H_

// Which rows of a source module's output go to which rank of a destination module.
//
// One microbatch of the run has G samples. Lane e of A source lanes holds samples
// [e*G/A, (e+1)*G/A), lane d of B destination lanes holds [d*G/B, (d+1)*G/B), each lane's rows
// sample-major. The tensor-parallel ranks of a lane share its rows, or at the destination the
// tokens that rows stand for, as TokenShard says. Point-to-point transfers move each row from its
// owner to the owner of its token. Sizes follow from what both ends know of the samples, so they
// compute the same plan and exchange no shapes.
//
// The adjoint of a plan is its inverse: gradients are copies, since every replica of a row holds
// that row's whole gradient.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"

namespace hetero {

// Rows [source_row, +num_rows) of the source rank's buffer become rows [destination_row, +num_rows)
// of the destination rank's.
struct RowTransfer {
  GlobalRank source;
  int64_t source_row = 0;
  int64_t num_rows = 0;
  GlobalRank destination;
  int64_t destination_row = 0;

  bool operator==(const RowTransfer&) const = default;
};

// Ranks whose buffers hold the same num_rows rows. owned[i] is what transfers read from, or write
// to, at ranks[i]; the owned ranges tile [0, num_rows) in rank order. After the transfers the ranks
// gather each other's ranges in place: a broadcast when one rank owns everything, nothing when the
// set has one rank. The last num_padding rows of the buffer are nobody's: no transfer moves them,
// and who receives into the buffer fills them with zeros.
struct ReplicaSet {
  Group ranks;
  int64_t num_rows = 0;
  std::vector<IndexRange> owned;
  int64_t num_padding = 0;

  bool operator==(const ReplicaSet&) const = default;
};

// transfers: by ascending source row within each pair of ranks, including those of zero rows, for
// which both ends do nothing. A rank is in at most one set of each side.
struct RowPlan {
  std::vector<RowTransfer> transfers;
  std::vector<ReplicaSet> sources;
  std::vector<ReplicaSet> destinations;

  bool operator==(const RowPlan&) const = default;
};

// The plan of the gradients: the same rows the other way.
RowPlan Inverse(RowPlan plan);

// Transfers with rows that `rank` sends or receives, in plan order. A transfer from a rank to
// itself is in both.
std::vector<RowTransfer> SendsOf(const RowPlan& plan, GlobalRank rank);
std::vector<RowTransfer> ReceivesOf(const RowPlan& plan, GlobalRank rank);

// The set of `rank` on one side of the plan; nullptr when it takes no part on that side.
const ReplicaSet* FindReplicaSet(std::span<const ReplicaSet> sets, GlobalRank rank);

// Rows in the buffer of `rank` before the transfers, and after the completion, padding included; 0
// for outsiders.
int64_t SourceRows(const RowPlan& plan, GlobalRank rank);
int64_t DestinationRows(const RowPlan& plan, GlobalRank rank);

// Errors: INVALID_ARGUMENT naming both numbers when the buffer of source rank `rank` has not the
// rows that the counts promised.
absl::Status CheckSourceRows(const RowPlan& plan, GlobalRank rank, int64_t actual_rows);

}  // namespace hetero

#endif  // HETERO_GRID_ROW_PLAN_H_
