#ifndef HETERO_GRID_MODULE_GRID_H_
#define HETERO_GRID_MODULE_GRID_H_

// The ranks of one separately parallelized module, in both factorizations.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/view.h"

namespace hetero {

// What is asked for. dp, expt_dp and the number of lanes follow from the rest.
struct GridSpec {
  std::string name = {};
  int64_t num_ranks = 0;
  int64_t tp = 1;
  int64_t cp = 1;
  int64_t pp = 1;
  int64_t ep = 1;
  int64_t gtp_remat = 1;
  int64_t rank_offset = 0;
  int64_t expt_tp = 1;
  int64_t expt_gtp_remat = 1;

  // Precondition of all: Validate finds nothing.
  int64_t dp() const { return num_ranks / (tp * gtp_remat * cp * pp); }
  int64_t expt_dp() const { return num_ranks / (expt_tp * ep * expt_gtp_remat * pp); }
  int64_t num_lanes() const { return dp() * gtp_remat; }
};

// Every rule `spec` breaks on its own, in field order; fields are named "language.tp". A pure
// function of any numbers.
std::vector<Violation> Validate(const GridSpec& spec);

// The groups a module's consumers ask for. Axes of each are in FamilyAxes().
enum class Family : uint8_t {
  kTp,
  kGtpRemat,
  kCp,
  kPp,
  kDp,
  kDpCp,           // dense gradient reduction and optimizer shards
  kDpCpGtpRemat,   // every rank with data of its own: token counts and losses
  kTpCp,           // router auxiliary loss
  kModelParallel,  // tp, gtp_remat, pp: dense model-parallel ranks of one replica
  kTpDp,
  kTpDpCp,  // tokens per expert and expert bias
  kModule,  // all ranks: gradient statistics
  kEp,
  kExptTp,
  kExptGtpRemat,
  kExptDp,  // expert gradient reduction and optimizer shards
  kTpEp,    // token dispatch
  kTpEpPp,  // expert model-parallel ranks of one replica
  kTpEpPpExptGtpRemat,
  kExptDpGtpRemat,
  kWordEmbedding,      // first and last stage of each pipeline
  kPositionEmbedding,  // first stage of each pipeline
};

inline constexpr int kNumFamilies = 22;

std::string_view FamilyName(Family family);

// Axes of a family; the two embedding families are not defined by axes and give {pp}.
AxisSet FamilyAxes(Family family);

// Invariant: the base and the expert view factorize the same ranks and share the pp groups.
class Grid {
 public:
  // Canonical axis orders: base tp, gtp_remat, cp, dp, pp; expert expt_tp, ep, expt_gtp_remat,
  // expt_dp, pp. Errors: INVALID_ARGUMENT with every violation of `spec`.
  static absl::StatusOr<Grid> Make(const GridSpec& spec);

  // A grid with axis orders of the caller's choice. Errors: INVALID_ARGUMENT when a view lacks an
  // axis, when the spans differ, or when the pp groups of the two views differ.
  static absl::StatusOr<Grid> FromViews(std::string name, GridView base, GridView expert);

  const std::string& name() const { return name_; }
  const GridView& base() const { return base_; }
  const GridView& expert() const { return expert_; }

  GlobalRank first_rank() const { return base_.first_rank(); }
  int64_t num_ranks() const { return base_.num_ranks(); }
  bool Contains(GlobalRank rank) const { return base_.Contains(rank); }

  // Size of, and coordinate on, an axis of either view.
  int64_t Size(Axis axis) const { return ViewOf(axis).Size(axis); }
  int64_t Coord(GlobalRank rank, Axis axis) const { return ViewOf(axis).Coord(rank, axis); }

  // All groups of a family, ascending.
  std::vector<Group> Groups(Family family) const;

  // The group of `rank`; nullopt when it is outside the grid or in no group of an embedding family.
  std::optional<Group> GroupOf(Family family, GlobalRank rank) const;

  // The group divided into parts of `size` consecutive ranks: the part of `rank`. What GroupOf
  // gives for a size of all. Precondition: size divides the group.
  std::optional<Group> PartOf(Family family, GlobalRank rank, int64_t size) const;

  // A data lane is the set of ranks that see the same samples: lane = dp * |gtp_remat| + gtp_remat.
  int64_t num_lanes() const { return Size(Axis::kDp) * Size(Axis::kGtpRemat); }
  LaneId LaneOf(GlobalRank rank) const;

  // Ranks of `lane` on pipeline stage `stage`, ascending.
  Group LaneRanks(LaneId lane, int64_t stage) const;

 private:
  Grid(std::string name, GridView base, GridView expert)
      : name_(std::move(name)), base_(std::move(base)), expert_(std::move(expert)) {}

  const GridView& ViewOf(Axis axis) const;
  Group EmbeddingGroup(Family family, const Group& pipeline) const;

  std::string name_;
  GridView base_;
  GridView expert_;
};

}  // namespace hetero

#endif  // HETERO_GRID_MODULE_GRID_H_
