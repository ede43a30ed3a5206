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
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/index_range.h"
#include "hetero/grid/lane_blocks.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"

namespace hetero {

// One end of an edge: the ranks of one pipeline stage of a module, of all its lanes or of some.
struct LaneSide {
  const Grid* grid = nullptr;
  int64_t stage = 0;
  std::optional<LaneRange> only = {};

  LaneRange lanes() const { return only.value_or(LaneRange{0, grid->num_lanes()}); }
};

// Both ends of an edge, as far as they share samples.
struct LaneBlock {
  LaneSide source;
  LaneSide destination;
  int64_t index = 0;
  int64_t num_blocks = 1;

  // Of the G samples of a microbatch those whose counts a plan of these lanes takes.
  int64_t FirstSample(int64_t num_samples) const { return num_samples / num_blocks * index; }
  int64_t NumSamples(int64_t num_samples) const { return num_samples / num_blocks; }
};

// The block of `rank`, which is on that end of the edge.
LaneBlock BlockOfSource(LaneSide source, LaneSide destination, GlobalRank rank);
LaneBlock BlockOfDestination(LaneSide source, LaneSide destination, GlobalRank rank);

// Where rows enter a module and where they leave it.
LaneSide FirstStage(const Grid& grid);
LaneSide LastStage(const Grid& grid);

// Samples [first_sample, first_sample + num_samples) of the microbatch go from one lane to another;
// rows are offsets into the lanes' own buffers.
struct LaneTransfer {
  LaneId source;
  LaneId destination;
  int64_t first_sample = 0;
  int64_t num_samples = 0;
  int64_t source_row = 0;
  int64_t destination_row = 0;
  int64_t num_rows = 0;

  bool operator==(const LaneTransfer&) const = default;
};

// Every non-empty intersection of a source and a destination lane, by ascending sample.
// rows_per_sample: rows of each of the G samples.
// Errors: INVALID_ARGUMENT naming the number and the nearest that passes: a count is negative, all
// of them exceed 2^40, a lane count is not 1 to kMaxRanks, G is not a multiple of each lane count.
absl::StatusOr<std::vector<LaneTransfer>> PlanLanes(std::span<const int64_t> rows_per_sample,
                                                    int64_t source_lanes,
                                                    int64_t destination_lanes);

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

// Here and below: the lanes of both sides hold the same samples, all of a microbatch or those of a
// LaneBlock, and what is said of samples is of these.

// One rank of each lane has all its rows and moves them: the last of a source lane to the first of
// a destination lane, where a broadcast in the lane follows. How Megatron-LM does it; kept to hold
// others against.
// Errors (here and below): those of PlanLanes.
absl::StatusOr<RowPlan> PlanLeaderFunnel(LaneSide source, LaneSide destination,
                                         std::span<const int64_t> rows_per_sample);

// Between two stages of one module: every rank sends the rows that it has, padding included, to the
// rank of the same coordinates on the other stage.
// Errors: also INVALID_ARGUMENT when the sides are of different grids or have cp > 1.
absl::StatusOr<RowPlan> PlanBetweenStages(LaneSide source, LaneSide destination,
                                          std::span<const int64_t> rows_per_sample);

// Consecutive rows of a sample that one source lane has.
struct LaneRows {
  LaneId lane;
  int64_t num_rows = 0;

  bool operator==(const LaneRows&) const = default;
};

// The rows of a sample, and which of its tokens at the destination they stand for.
struct SampleRows {
  int64_t num_rows = 0;
  int64_t num_tokens = 0;                 // of the sample, padding included
  std::span<const IndexRange> runs = {};  // of them, ascending and apart: row by row
  // Where they come from, in order: all of them. Unset: from the lane that holds the sample.
  std::optional<std::span<const LaneRows>> parts = {};
};

// Tensor-parallel rank e of a source lane with N rows has rows [e*R, (e+1)*R) of them, R = ceil(N /
// tp), and padding up to R. Rank t of a destination lane with T tokens works on [t*Q, (t+1)*Q), Q =
// ceil(T / tp): rows go straight to the rank whose token they stand for, which has those of its
// lane that it owns, in order. Nothing is gathered on either side. The sides may share their ranks.
// A source lane has its rows in the order of samples and of their parts, whatever the samples.
// Errors: also INVALID_ARGUMENT naming the sample whose runs are not in order, leave its tokens, or
// are of more or fewer tokens than it has rows, or whose parts are not its rows or from a lane that
// is no source; when a side has cp > 1.
absl::StatusOr<RowPlan> PlanOwners(LaneSide source, LaneSide destination,
                                   std::span<const SampleRows> samples);

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
