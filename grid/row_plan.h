#ifndef HETERO_GRID_ROW_PLAN_H_
#define HETERO_GRID_ROW_PLAN_H_

// Which rows of a source module's output go to which rank of a destination module.
//
// One microbatch of the run has G samples. Lane e of A source lanes holds samples
// [e*G/A, (e+1)*G/A), lane d of B destination lanes holds [d*G/B, (d+1)*G/B), each lane's rows
// sample-major. A plan moves rows by point-to-point transfers and then completes replicas: ranks
// that must end with the same rows gather the ranges that each of them received. Sizes follow from
// the counts alone, so both ends compute the same plan and exchange no shapes.
//
// The adjoint of a plan is its inverse: gradients are copies, since every replica of a row holds
// that row's whole gradient.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
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

struct RowRange {
  int64_t first = 0;
  int64_t count = 0;

  bool operator==(const RowRange&) const = default;
};

// Ranks whose buffers hold the same num_rows rows. owned[i] is what transfers read from, or write
// to, at ranks[i]; the owned ranges tile [0, num_rows) in rank order. After the transfers the ranks
// gather each other's ranges in place: a broadcast when one rank owns everything, nothing when the
// set has one rank.
struct ReplicaSet {
  Group ranks;
  int64_t num_rows = 0;
  std::vector<RowRange> owned;

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
// LaneBlock, and rows_per_sample is of these.

// One rank of each lane moves all its rows: the last of a source lane to the first of a destination
// lane, where a broadcast in the lane follows.
// Errors (here and below): those of PlanLanes.
absl::StatusOr<RowPlan> PlanLeaderFunnel(LaneSide source, LaneSide destination,
                                         std::span<const int64_t> rows_per_sample);

// The first n ranks of every lane share its rows in near-equal slices, n the smaller number of
// ranks of a source and of a destination lane, so that a rank moves 1/n of its lane's rows; the
// destination lane gathers the slices afterwards. Lanes of equal rows use n links, rank i to rank
// i.
absl::StatusOr<RowPlan> PlanSliced(LaneSide source, LaneSide destination,
                                   std::span<const int64_t> rows_per_sample);

// Between two stages of one module: every rank sends all rows that it has to the rank of the same
// coordinates on the other stage, and nothing is gathered.
// Errors: also INVALID_ARGUMENT when the sides are of different grids.
absl::StatusOr<RowPlan> PlanBetweenStages(LaneSide source, LaneSide destination,
                                          std::span<const int64_t> rows_per_sample);

// Under sequence parallelism tp rank t of a destination lane works on positions
// [t*S/T, (t+1)*S/T) of every sequence. Rows go straight to the owner of their position and nothing
// is gathered there; a rank's rows are those of its lane that it owns, in lane order. Source ranks
// of a lane share the sending by near-equal slices.
// positions: of every row of the microbatch in its sequence, sample-major.
// Errors: also INVALID_ARGUMENT when S is not a multiple of T, when the number of positions is not
// the sum of the counts, when a position is outside [0, S), or when the destination has cp > 1.
absl::StatusOr<RowPlan> PlanSequenceOwners(LaneSide source, LaneSide destination,
                                           std::span<const int64_t> rows_per_sample,
                                           std::span<const int64_t> positions,
                                           int64_t sequence_length);

// Both grids on the same ranks: every rank keeps what it has of its destination lane, then, when
// the destination has fewer lanes, gathers the rest from the ranks of equal source tp. With more
// destination lanes it keeps its slice, and backward gathers.
// Errors: also INVALID_ARGUMENT when the spans differ, when pp or cp of either is above 1, or when
// neither lane count divides the other.
absl::StatusOr<RowPlan> PlanColocated(LaneSide source, LaneSide destination,
                                      std::span<const int64_t> rows_per_sample);

// The plan of the gradients: the same rows the other way.
RowPlan Inverse(RowPlan plan);

// Transfers with rows that `rank` sends or receives, in plan order. A transfer from a rank to
// itself is in both.
std::vector<RowTransfer> SendsOf(const RowPlan& plan, GlobalRank rank);
std::vector<RowTransfer> ReceivesOf(const RowPlan& plan, GlobalRank rank);

// The set of `rank` on one side of the plan; nullptr when it takes no part on that side.
const ReplicaSet* FindReplicaSet(std::span<const ReplicaSet> sets, GlobalRank rank);

// Rows in the buffer of `rank` before the transfers, and after the completion; 0 for outsiders.
int64_t SourceRows(const RowPlan& plan, GlobalRank rank);
int64_t DestinationRows(const RowPlan& plan, GlobalRank rank);

// Errors: INVALID_ARGUMENT naming both numbers when the buffer of source rank `rank` has not the
// rows that the counts promised.
absl::Status CheckSourceRows(const RowPlan& plan, GlobalRank rank, int64_t actual_rows);

}  // namespace hetero

#endif  // HETERO_GRID_ROW_PLAN_H_
