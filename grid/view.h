#ifndef HETERO_GRID_VIEW_H_
#define HETERO_GRID_VIEW_H_

// One factorization of a span of consecutive ranks into parallel axes.

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/rank.h"

namespace hetero {

// Ranks of a world at most: more than any machine has, few enough that lists of them fit in memory
// and the product of two sizes in 64 bits.
inline constexpr int64_t kMaxRanks = int64_t{1} << 20;

struct AxisSize {
  Axis axis;
  int64_t size = 1;

  bool operator==(const AxisSize&) const = default;
};

// An n-dimensional box of ranks whose first axis varies fastest:
//   rank = first_rank + sum_i coord_i * stride_i, stride_i = product of the sizes before i.
// Invariant: axes are distinct, sizes are positive. A value type; every query is O(number of axes)
// apart from the enumerations. Naming an axis that is not in the view is a bug and CHECK-fails.
class GridView {
 public:
  // Errors: INVALID_ARGUMENT for a first rank or a size that is not one of kMaxRanks, a repeated
  // axis, sizes whose product is above kMaxRanks.
  static absl::StatusOr<GridView> Make(GlobalRank first_rank, std::vector<AxisSize> axes);

  GlobalRank first_rank() const { return first_rank_; }
  int64_t num_ranks() const { return num_ranks_; }
  std::span<const AxisSize> axes() const { return axes_; }
  AxisSet axis_set() const { return axis_set_; }

  bool Contains(GlobalRank rank) const {
    return rank >= first_rank_ && rank.value() < first_rank_.value() + num_ranks_;
  }

  int64_t Size(Axis axis) const;

  // Precondition: Contains(rank).
  int64_t Coord(GlobalRank rank, Axis axis) const;

  // The rank at `coords`; axes left out have coordinate 0.
  GlobalRank RankAt(std::initializer_list<std::pair<Axis, int64_t>> coords) const;

  // Partition of the ranks: two ranks share a group when they agree on every axis outside `axes`.
  // Ranks ascend inside a group, groups ascend by first rank, whatever the order of `axes`.
  std::vector<Group> Groups(AxisSet axes) const;

  // The group of Groups(axes) that holds `rank`. Precondition: Contains(rank).
  Group GroupOf(GlobalRank rank, AxisSet axes) const;

  // "ranks [4, 8): tp 2, dp 2"
  std::string ToString() const;

  bool operator==(const GridView&) const = default;

 private:
  GridView() = default;

  size_t IndexOf(Axis axis) const;
  // Ranks reached from `base` by every combination of coordinates of the axes in `axes`.
  Group Expand(GlobalRank base, AxisSet axes) const;

  GlobalRank first_rank_;
  int64_t num_ranks_ = 1;
  std::vector<AxisSize> axes_;
  std::vector<int64_t> strides_;
  AxisSet axis_set_;
};

// OK when `other` factorizes the same ranks as `base` and the groups of the axes in `shared`,
// one by one and jointly, are the same lists of ranks in both, so that they can be one
// communicator. Errors: INVALID_ARGUMENT naming the first difference.
absl::Status CheckSharedAxes(const GridView& base, const GridView& other, AxisSet shared);

}  // namespace hetero

#endif  // HETERO_GRID_VIEW_H_
