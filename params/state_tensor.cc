#include "hetero/params/state_tensor.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace hetero {
namespace {

struct Box {
  std::vector<int64_t> begin;
  std::vector<int64_t> extent;
};

// Boxes of a tensor of `shape` that are each one piece of memory and cover `range` in its order.
// Dims before `dim` are fixed in `box`, and `range` counts from there.
void CutIntoBoxes(const std::vector<int64_t>& shape, size_t dim, ElementRange range, Box box,
                  std::vector<Box>& boxes) {
  if (range.count == 0) return;
  if (dim == shape.size()) return boxes.push_back(std::move(box));
  int64_t stride = 1;
  for (size_t d = dim + 1; d < shape.size(); ++d) stride *= shape[d];
  const auto part_of_row = [&](int64_t row, ElementRange part) {
    Box inside = box;
    inside.begin[dim] = row;
    inside.extent[dim] = 1;
    CutIntoBoxes(shape, dim + 1, {part.begin - row * stride, part.count}, std::move(inside), boxes);
  };
  const int64_t first_whole = (range.begin + stride - 1) / stride;
  const int64_t end_whole = range.end() / stride;
  if (first_whole > end_whole) return part_of_row(end_whole, range);
  const int64_t head = first_whole * stride - range.begin;
  if (head > 0) part_of_row(first_whole - 1, {range.begin, head});
  if (first_whole < end_whole) {
    Box rows = box;
    rows.begin[dim] = first_whole;
    rows.extent[dim] = end_whole - first_whole;
    boxes.push_back(std::move(rows));
  }
  const int64_t tail = range.end() - end_whole * stride;
  if (tail > 0) part_of_row(end_whole, {end_whole * stride, tail});
}

// The part of `box` of the shard that is in `part`; extent 0 in some dim where there is none.
ShardBox Inside(const ShardBox& box, const Box& part) {
  ShardBox inside = box;
  for (size_t d = 0; d < part.begin.size(); ++d) {
    const ElementRange common =
        Intersect({box.local_begin[d], box.extent[d]}, {part.begin[d], part.extent[d]});
    inside.logical_begin[d] += common.begin - box.local_begin[d];
    inside.local_begin[d] = common.begin - part.begin[d];
    inside.extent[d] = common.count;
  }
  return inside;
}

}  // namespace

std::vector<StateTensor> FlatStates(std::string_view name, const ParameterSpec& spec,
                                    const Shard& shard, const ElementRange& range,
                                    const TensorView& flat) {
  std::vector<Box> parts;
  CutIntoBoxes(shard.shape, 0, range,
               {.begin = std::vector<int64_t>(shard.shape.size()), .extent = shard.shape}, parts);
  std::vector<StateTensor> states;
  int64_t begin = 0;
  for (const Box& part : parts) {
    int64_t count = 1;
    for (const int64_t extent : part.extent) count *= extent;
    StateTensor state{.name = std::string(name),
                      .shape = spec.shape,
                      .local = flat.Rows(begin, count).Reshape(part.extent)};
    begin += count;
    for (const ShardBox& box : shard.boxes) {
      ShardBox inside = Inside(box, part);
      if (std::ranges::find(inside.extent, 0) == inside.extent.end()) {
        state.boxes.push_back(std::move(inside));
      }
    }
    states.push_back(std::move(state));
  }
  return states;
}

}  // namespace hetero
