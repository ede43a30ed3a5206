#ifndef HETERO_CKPT_PLAN_NAME_MAP_H_
#define HETERO_CKPT_PLAN_NAME_MAP_H_

// A list of boxes (params/box_map.h), checked, and the state of a rank in the tensors of a file.
// Rows that a file interleaves or keeps apart, stacked layers and tensors of one expert each are
// all boxes.

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/params/box_map.h"
#include "hetero/params/state_tensor.h"

namespace hetero {

class NameMap {
 public:
  // Errors: INVALID_ARGUMENT naming name, key and boxes: sizes that do not fit, one key of two
  // shapes, boxes outside, elements of a tensor or of a key that no box has, or two. A tensor's
  // shape is what its boxes reach to.
  static absl::StatusOr<NameMap> Create(std::vector<BoxMap> boxes);

  // The states in tensors of the file, each key once. `state_prefix` is cut off the states' names
  // before they are looked up ("exp_avg."), `key_prefix` is put before keys.
  // Errors: NOT_FOUND naming states that the map does not have, INVALID_ARGUMENT shapes that differ
  // from the map's.
  absl::StatusOr<std::vector<CheckpointTensor>> Apply(std::span<const StateTensor> states,
                                                      std::string_view state_prefix = "",
                                                      std::string_view key_prefix = "") const;

  // Sorted by name, then own box.
  std::span<const BoxMap> boxes() const { return boxes_; }

 private:
  struct Own {
    std::vector<int64_t> shape;
    size_t begin = 0;  // of boxes_
    size_t end = 0;
  };

  std::vector<BoxMap> boxes_;
  std::map<std::string, Own, std::less<>> own_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_PLAN_NAME_MAP_H_
