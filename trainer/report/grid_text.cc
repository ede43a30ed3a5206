#include "hetero/trainer/report/grid_text.h"

#include "absl/strings/str_cat.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/view.h"

namespace hetero {

std::string RanksText(int64_t first, int64_t count) {
  return count == 1 ? absl::StrCat("rank ", first)
                    : absl::StrCat("ranks ", first, "-", first + count - 1);
}

std::string RanksText(const Grid& grid) {
  return RanksText(grid.first_rank().value(), grid.num_ranks());
}

std::string RankText(GlobalRank rank, const Grid& grid) {
  std::string text = RanksText(rank.value(), 1);
  if (grid.Size(Axis::kTp) > 1) absl::StrAppend(&text, ", tp ", grid.Coord(rank, Axis::kTp));
  return text;
}

std::string SizesText(const Grid& grid) {
  std::string text;
  for (const GridView* view : {&grid.base(), &grid.expert()}) {
    for (const AxisSize& axis : view->axes()) {
      // Both views have pp; the experts' data-parallel size follows from the others.
      const bool repeated =
          view == &grid.expert() && (axis.axis == Axis::kPp || axis.axis == Axis::kExptDp);
      if (axis.size == 1 || repeated) continue;
      absl::StrAppend(&text, text.empty() ? "" : ", ", AxisName(axis.axis), " ", axis.size);
    }
  }
  return text.empty() ? "whole model" : text;
}

}  // namespace hetero
