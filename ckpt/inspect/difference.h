#ifndef HETERO_CKPT_INSPECT_DIFFERENCE_H_
#define HETERO_CKPT_INSPECT_DIFFERENCE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/inspect/tensors.h"

namespace hetero {

struct TensorDifference {
  std::string key;
  std::string heads;     // "bf16 [4,8] and f32 [4,8]" where those differ; then nothing else does
  int64_t elements = 0;  // of other bytes
  int64_t all_elements = 0;
  // max |a-b| of floating-point elements, infinite or NaN where one of them is and they differ.
  std::optional<double> max_abs = {};

  // "w: 3 of 32 elements differ, by 0.5 at most".
  std::string ToString() const;
};

struct DifferenceReport {
  std::vector<std::string> only_first;
  std::vector<std::string> only_second;
  std::vector<TensorDifference> different;  // by key
  int64_t equal = 0;

  bool none() const { return only_first.empty() && only_second.empty() && different.empty(); }
};

// Compares tensors of the same name, one in memory at a time of each side. `before_each` is called
// with a key before it is read; its error ends it.
// Errors: those of reading, and of `before_each`.
absl::StatusOr<DifferenceReport> CompareTensors(
    const StoredTensors& first, const StoredTensors& second,
    const std::function<absl::Status(std::string_view key)>& before_each = {});

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_DIFFERENCE_H_
