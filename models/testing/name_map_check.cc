#include "hetero/models/testing/name_map_check.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace hetero {
namespace {

int64_t Volume(std::span<const int64_t> shape) {
  int64_t volume = 1;
  for (const int64_t size : shape) volume *= size;
  return volume;
}

// How often each element of each tensor is named.
using Counts = std::map<std::string, std::vector<int>>;

void Count(const std::string& tensor, const Box& box, std::span<const int64_t> shape,
           Counts& counts) {
  std::vector<int>& of_tensor = counts[tensor];
  of_tensor.resize(Volume(shape));
  for (const int64_t element : ElementsOf(box, shape)) {
    ASSERT_LT(element, std::ssize(of_tensor)) << tensor;
    ++of_tensor[element];
  }
}

void ExpectOnes(const Counts& counts) {
  for (const auto& [tensor, of_tensor] : counts) {
    EXPECT_EQ(std::ranges::count(of_tensor, 1), std::ssize(of_tensor)) << tensor;
  }
}

}  // namespace

std::vector<int64_t> ElementsOf(const Box& box, std::span<const int64_t> shape) {
  std::vector<int64_t> elements = {0};
  for (size_t d = 0; d < shape.size(); ++d) {
    EXPECT_LE(box.offset[d] + box.size[d], shape[d]) << "dim " << d;
    std::vector<int64_t> next;
    for (const int64_t element : elements) {
      for (int64_t i = 0; i < box.size[d]; ++i) {
        next.push_back(element * shape[d] + box.offset[d] + i);
      }
    }
    elements = std::move(next);
  }
  return elements;
}

void ExpectNamesAllOnce(std::span<const ParameterSpec> specs, std::span<const BoxMap> maps) {
  std::map<std::string, std::vector<int64_t>> shapes, key_shapes;
  for (const ParameterSpec& spec : specs) shapes[spec.name] = spec.shape;
  Counts own, stored;
  for (const BoxMap& map : maps) {
    ASSERT_TRUE(shapes.contains(map.name)) << map.name;
    const auto [known, added] = key_shapes.emplace(map.key, map.key_shape);
    EXPECT_EQ(known->second, map.key_shape) << map.key;
    std::vector<int64_t> here, there;
    std::ranges::copy_if(map.own.size, std::back_inserter(here), [](int64_t n) { return n != 1; });
    std::ranges::copy_if(map.stored.size, std::back_inserter(there),
                         [](int64_t n) { return n != 1; });
    EXPECT_EQ(here, there) << map.name << " in " << map.key;
    Count(map.name, map.own, shapes[map.name], own);
    Count(map.key, map.stored, map.key_shape, stored);
  }
  EXPECT_EQ(own.size(), shapes.size());
  ExpectOnes(own);
  ExpectOnes(stored);
}

KeyRow FindRow(std::span<const BoxMap> maps, std::string_view name, int64_t row) {
  for (const BoxMap& map : maps) {
    const int64_t in_box = row - map.own.offset[0];
    if (map.name != name || in_box < 0 || in_box >= map.own.size[0]) continue;
    return {map.key, map.stored.offset[0] + in_box};
  }
  return {};
}

std::map<std::string, std::vector<int64_t>> KeyShapes(std::span<const BoxMap> maps) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const BoxMap& map : maps) shapes[map.key] = map.key_shape;
  return shapes;
}

}  // namespace hetero
