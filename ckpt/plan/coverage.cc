#include "hetero/ckpt/plan/coverage.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

using Boxes = std::vector<const CoveringBox*>;

int64_t End(const Box& box, size_t dim) { return box.offset[dim] + box.size[dim]; }

// Of all dims the one along which boxes begin at the most places.
size_t SweepDim(const Boxes& boxes, size_t num_dims) {
  size_t best = 0, most = 0;
  for (size_t d = 0; d < num_dims; ++d) {
    std::set<int64_t> begins;
    for (const CoveringBox* box : boxes) begins.insert(box->box.offset[d]);
    if (begins.size() > most) {
      most = begins.size();
      best = d;
    }
  }
  return best;
}

absl::Status CheckDisjoint(std::string_view key, Boxes boxes, size_t num_dims) {
  const auto overlap = [&](const CoveringBox& a, const CoveringBox& b) {
    return absl::InvalidArgumentError(
        absl::StrCat("overlap: elements of ", key, " are given twice, as ", ToString(a.box), " by ",
                     a.holder, " and as ", ToString(b.box), " by ", b.holder));
  };
  if (num_dims == 0) {
    return boxes.size() < 2 ? absl::OkStatus() : overlap(*boxes[0], *boxes[1]);
  }
  const size_t dim = SweepDim(boxes, num_dims);
  std::ranges::stable_sort(
      boxes, {}, [dim](const CoveringBox* covering) { return covering->box.offset[dim]; });
  Boxes open;
  for (const CoveringBox* next : boxes) {
    std::erase_if(
        open, [&](const CoveringBox* box) { return End(box->box, dim) <= next->box.offset[dim]; });
    for (const CoveringBox* box : open) {
      if (Intersect(box->box, next->box).has_value()) return overlap(*box, *next);
    }
    open.push_back(next);
  }
  return absl::OkStatus();
}

// The first elements in row-major order, from `dim` on, that are in none of `boxes`, which all have
// what `hole` has of earlier dims.
std::optional<Box> FindHole(std::span<const int64_t> shape, const Boxes& boxes, size_t dim,
                            Box hole) {
  if (dim == shape.size()) return boxes.empty() ? std::optional<Box>(hole) : std::nullopt;
  std::set<int64_t> cuts = {0, shape[dim]};
  for (const CoveringBox* box : boxes) {
    cuts.insert(box->box.offset[dim]);
    cuts.insert(End(box->box, dim));
  }
  for (auto begin = cuts.begin(); std::next(begin) != cuts.end(); ++begin) {
    Boxes inside;
    for (const CoveringBox* box : boxes) {
      if (box->box.offset[dim] <= *begin && *begin < End(box->box, dim)) inside.push_back(box);
    }
    hole.offset[dim] = *begin;
    hole.size[dim] = *std::next(begin) - *begin;
    if (std::optional<Box> found = FindHole(shape, inside, dim + 1, hole)) return found;
  }
  return std::nullopt;
}

}  // namespace

absl::Status CheckCoverage(std::string_view key, std::span<const int64_t> shape,
                           std::span<const CoveringBox> boxes) {
  Boxes with_elements;
  int64_t covered = 0;
  for (const CoveringBox& box : boxes) {
    if (!IsInside(box.box, shape)) {
      return absl::InvalidArgumentError(absl::StrCat("out of bounds: ", ToString(box.box), " of ",
                                                     key, " by ", box.holder, ", whose shape is ",
                                                     ShapeText(shape)));
    }
    if (NumElements(box.box) == 0) continue;
    with_elements.push_back(&box);
    covered += NumElements(box.box);
  }
  HETERO_RETURN_IF_ERROR(CheckDisjoint(key, with_elements, shape.size()));
  const int64_t all = NumElements(shape);
  if (covered == all) return absl::OkStatus();
  const Box hole = FindHole(shape, with_elements, 0, WholeBox(shape)).value();
  return absl::InvalidArgumentError(absl::StrCat("not covered: nobody has ", ToString(hole), " of ",
                                                 key, ", ", all - covered, " of ", all,
                                                 " elements in all"));
}

}  // namespace hetero
