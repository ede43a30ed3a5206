#include "hetero/ckpt/plan/distribution.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "hetero/ckpt/plan/box.h"

namespace hetero {

std::vector<int64_t> Distribute(std::span<const HeldBox> boxes, int64_t num_members,
                                Distribution kind) {
  std::vector<size_t> order;
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (boxes[i].has_main || kind == Distribution::kLoad) order.push_back(i);
  }
  const auto place = [&](size_t i) {
    const HeldBox& held = boxes[i];
    return std::make_tuple(!held.has_main, held.holders.size(), -held.bytes, held.key);
  };
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const auto place_a = place(a), place_b = place(b);
    return place_a != place_b ? place_a < place_b : *boxes[a].box < *boxes[b].box;
  });
  std::vector<int64_t> assigned(num_members);
  std::vector<int64_t> owners(boxes.size(), -1);
  for (const size_t i : order) {
    const auto owner = std::ranges::min_element(boxes[i].holders, {},
                                                [&](int64_t holder) { return assigned[holder]; });
    owners[i] = *owner;
    assigned[*owner] += boxes[i].bytes;
  }
  return owners;
}

std::vector<std::vector<size_t>> DivideAmongFiles(std::span<const int64_t> bytes,
                                                  int64_t num_files) {
  std::vector<size_t> order(bytes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return bytes[a] > bytes[b]; });
  std::vector<std::vector<size_t>> files(num_files);
  std::vector<int64_t> sizes(num_files);
  for (const size_t i : order) {
    const size_t file = std::ranges::min_element(sizes) - sizes.begin();
    files[file].push_back(i);
    sizes[file] += bytes[i];
  }
  return files;
}

std::vector<Box> CutToSize(const Box& box, int64_t element_bytes, int64_t max_bytes) {
  const int64_t bytes = NumElements(box) * element_bytes;
  if (bytes <= max_bytes) return {box};
  const size_t dim =
      std::ranges::find_if(box.size, [](int64_t size) { return size > 1; }) - box.size.begin();
  const int64_t row_bytes = bytes / box.size[dim];
  const int64_t rows = std::max<int64_t>(1, max_bytes / row_bytes);
  std::vector<Box> boxes;
  for (int64_t begin = 0; begin < box.size[dim]; begin += rows) {
    Box part = box;
    part.offset[dim] += begin;
    part.size[dim] = std::min(rows, box.size[dim] - begin);
    for (Box& smaller : CutToSize(part, element_bytes, max_bytes)) boxes.push_back(smaller);
  }
  return boxes;
}

}  // namespace hetero
