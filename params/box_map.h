#ifndef HETERO_PARAMS_BOX_MAP_H_
#define HETERO_PARAMS_BOX_MAP_H_

// How the tensors of a table lie in the tensors of a file that has other names and shapes: a list
// of boxes. Models say theirs, whoever reads and writes files needs to know nothing else of them.

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace hetero {

// A part of a tensor: first element and number of elements of each dim.
struct Box {
  std::vector<int64_t> offset;
  std::vector<int64_t> size;

  auto operator<=>(const Box&) const = default;
};

// `own` of the parameter `name` is `stored` of the file's tensor `key`, which has `key_shape`. Both
// boxes have the same elements in the same row-major order; dims of one entry may be in one alone,
// as where layers are stacked or every expert is a tensor.
struct BoxMap {
  std::string name;
  Box own;
  std::string key;
  std::vector<int64_t> key_shape;
  Box stored;
  // A vocabulary: the files of others may have more rows (dim 0) of the key, which are padding.
  bool padded_rows = false;

  bool operator==(const BoxMap&) const = default;
};

}  // namespace hetero

#endif  // HETERO_PARAMS_BOX_MAP_H_
