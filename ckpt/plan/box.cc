#include "hetero/ckpt/plan/box.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {

Box WholeBox(std::span<const int64_t> shape) {
  return {.offset = std::vector<int64_t>(shape.size()), .size = {shape.begin(), shape.end()}};
}

int64_t NumElements(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

std::optional<Box> Intersect(const Box& a, const Box& b) {
  Box common;
  for (size_t d = 0; d < a.size.size(); ++d) {
    const int64_t begin = std::max(a.offset[d], b.offset[d]);
    const int64_t end = std::min(a.offset[d] + a.size[d], b.offset[d] + b.size[d]);
    if (begin >= end) return std::nullopt;
    common.offset.push_back(begin);
    common.size.push_back(end - begin);
  }
  return common;
}

bool IsInside(const Box& box, std::span<const int64_t> shape) {
  if (box.offset.size() != shape.size() || box.size.size() != shape.size()) return false;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (box.offset[d] < 0 || box.size[d] < 0 || box.offset[d] > shape[d] ||
        box.size[d] > shape[d] - box.offset[d]) {
      return false;
    }
  }
  return true;
}

std::string ShapeText(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

std::string ToString(const Box& box) {
  return absl::StrCat(ShapeText(box.offset), "+", ShapeText(box.size));
}

}  // namespace hetero
