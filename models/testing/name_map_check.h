#ifndef HETERO_MODELS_TESTING_NAME_MAP_CHECK_H_
#define HETERO_MODELS_TESTING_NAME_MAP_CHECK_H_

// Name maps of models, looked at element by element.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/params/box_map.h"
#include "hetero/params/parameter_spec.h"

namespace hetero {

// The numbers of the elements of `box` in a tensor of `shape`, in the order of the box.
std::vector<int64_t> ElementsOf(const Box& box, std::span<const int64_t> shape);

// Adds a test failure unless every element of every parameter and of every key is named once.
void ExpectNamesAllOnce(std::span<const ParameterSpec> specs, std::span<const BoxMap> maps);

// Where the first element of `row` of a parameter (entry of dim 0) lies: its key, and its row
// there.
struct KeyRow {
  std::string key;
  int64_t row = -1;

  bool operator==(const KeyRow&) const = default;
};
KeyRow FindRow(std::span<const BoxMap> maps, std::string_view name, int64_t row);

// The shape of every key.
std::map<std::string, std::vector<int64_t>> KeyShapes(std::span<const BoxMap> maps);

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_NAME_MAP_CHECK_H_
