#include "hetero/grid/view.h"

#include <algorithm>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {

absl::StatusOr<GridView> GridView::Make(GlobalRank first_rank, std::vector<AxisSize> axes) {
  if (first_rank.value() < 0 || first_rank.value() > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank_offset is ", first_rank, ", must be at least 0 and at most ", kMaxRanks,
                     "; nearest: ", first_rank.value() < 0 ? 0 : kMaxRanks));
  }
  GridView view;
  view.first_rank_ = first_rank;
  for (const AxisSize& axis : axes) {
    if (axis.size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(AxisName(axis.axis), " is ", axis.size, ", must be at least 1; nearest: 1"));
    }
    if (axis.size > kMaxRanks / view.num_ranks_) {
      return absl::InvalidArgumentError(
          absl::StrCat(AxisName(axis.axis), " is ", axis.size, " over ", view.num_ranks_,
                       " ranks of the axes before it; a grid has at most ", kMaxRanks,
                       " ranks; nearest: ", kMaxRanks / view.num_ranks_));
    }
    if (view.axis_set_.Contains(axis.axis)) {
      return absl::InvalidArgumentError(
          absl::StrCat("axis ", AxisName(axis.axis), " is given twice"));
    }
    view.axis_set_ = view.axis_set_ | axis.axis;
    view.strides_.push_back(view.num_ranks_);
    view.num_ranks_ *= axis.size;
  }
  view.axes_ = std::move(axes);
  return view;
}

size_t GridView::IndexOf(Axis axis) const {
  const auto found =
      std::find_if(axes_.begin(), axes_.end(), [&](const AxisSize& a) { return a.axis == axis; });
  CHECK(found != axes_.end()) << "'" << AxisName(axis) << "' is not in the view of " << ToString();
  return static_cast<size_t>(found - axes_.begin());
}

int64_t GridView::Size(Axis axis) const { return axes_[IndexOf(axis)].size; }

int64_t GridView::Coord(GlobalRank rank, Axis axis) const {
  DCHECK(Contains(rank)) << rank << " is not in " << ToString();
  const size_t i = IndexOf(axis);
  return (rank.value() - first_rank_.value()) / strides_[i] % axes_[i].size;
}

GlobalRank GridView::RankAt(std::initializer_list<std::pair<Axis, int64_t>> coords) const {
  int64_t rank = first_rank_.value();
  for (const auto& [axis, coord] : coords) {
    const size_t i = IndexOf(axis);
    DCHECK(coord >= 0 && coord < axes_[i].size) << AxisName(axis) << " coordinate " << coord;
    rank += coord * strides_[i];
  }
  return GlobalRank(rank);
}

Group GridView::Expand(GlobalRank base, AxisSet axes) const {
  Group ranks = {base};
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (!axes.Contains(axes_[i].axis)) continue;
    const size_t inner = ranks.size();
    for (int64_t coord = 1; coord < axes_[i].size; ++coord) {
      for (size_t k = 0; k < inner; ++k) {
        ranks.emplace_back(ranks[k].value() + coord * strides_[i]);
      }
    }
  }
  return ranks;
}

std::vector<Group> GridView::Groups(AxisSet axes) const {
  CHECK(axis_set_.ContainsAll(axes))
      << (axes - axis_set_).ToString() << " is not in the view of " << ToString();
  std::vector<Group> groups;
  for (GlobalRank base : Expand(first_rank_, axis_set_ - axes)) {
    groups.push_back(Expand(base, axes));
  }
  return groups;
}

Group GridView::GroupOf(GlobalRank rank, AxisSet axes) const {
  CHECK(axis_set_.ContainsAll(axes))
      << (axes - axis_set_).ToString() << " is not in the view of " << ToString();
  int64_t base = rank.value();
  for (size_t i = 0; i < axes_.size(); ++i) {
    if (axes.Contains(axes_[i].axis)) base -= Coord(rank, axes_[i].axis) * strides_[i];
  }
  return Expand(GlobalRank(base), axes);
}

std::string GridView::ToString() const {
  return absl::StrCat("ranks [", first_rank_, ", ", first_rank_.value() + num_ranks_,
                      "): ", absl::StrJoin(axes_, ", ", [](std::string* out, const AxisSize& a) {
                        absl::StrAppend(out, AxisName(a.axis), " ", a.size);
                      }));
}

absl::Status CheckSharedAxes(const GridView& base, const GridView& other, AxisSet shared) {
  if (base.first_rank() != other.first_rank() || base.num_ranks() != other.num_ranks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("views of different ranks: ", base.ToString(), " and ", other.ToString()));
  }
  for (const GridView* view : {&base, &other}) {
    if (!view->axis_set().ContainsAll(shared)) {
      return absl::InvalidArgumentError(absl::StrCat("shared ",
                                                     (shared - view->axis_set()).ToString(),
                                                     " is not in the view of ", view->ToString()));
    }
  }
  std::vector<AxisSet> candidates = {shared};
  for (const AxisSize& axis : base.axes()) {
    if (shared.Contains(axis.axis)) candidates.push_back(axis.axis);
  }
  for (AxisSet axes : candidates) {
    const std::vector<Group> expected = base.Groups(axes);
    const std::vector<Group> actual = other.Groups(axes);
    const size_t common = std::min(expected.size(), actual.size());
    for (size_t i = 0; i < common; ++i) {
      if (expected[i] != actual[i]) {
        return absl::InvalidArgumentError(absl::StrCat(
            axes.ToString(), " cannot be shared: group ", i, " is ", ToString(expected[i]), " in ",
            base.ToString(), " and ", ToString(actual[i]), " in ", other.ToString()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero
