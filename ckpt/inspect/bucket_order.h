#ifndef HETERO_CKPT_INSPECT_BUCKET_ORDER_H_
#define HETERO_CKPT_INSPECT_BUCKET_ORDER_H_

// Which parameters lie in the buckets of Megatron's distributed optimizer (dp_reshardable). Its
// checkpoints have the buckets as tensors of one dim and do not say what is in them: that follows
// from the order of the parameters on the ranks that wrote them.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/params/box_map.h"

namespace hetero {

// A box of a tensor of the whole model.
struct BucketPart {
  std::string key;
  std::vector<int64_t> shape;
  Box box;
};

// The rows of a fused parameter are parts one after the other.
using BucketParameter = std::vector<BucketPart>;

// What the data-parallel ranks of one place in the model hold alike.
struct BucketGroup {
  std::string buckets;  // "optimizer.distributed.dp_group_idx_0.gbuf_idx_0.dtype_(...)"
  std::string prefix;   // of the tensors that it becomes: "mimo.language.optimizer.state."
  std::vector<BucketParameter> parameters;  // as Module.parameters() has them
};

// {"groups": [{"buckets": "...", "prefix": "...", "parameters": [[{"key": "w", "shape": [8, 4],
// "offset": [4, 0], "size": [4, 4]}], ...]}]}; without offset and size, the whole tensor.
// Errors: INVALID_ARGUMENT naming group, parameter and field.
absl::StatusOr<std::vector<BucketGroup>> ParseBucketOrder(std::string_view text);

// Of a file. Errors: likewise, with its path; those of the storage.
absl::StatusOr<std::vector<BucketGroup>> ReadBucketOrder(Storage& storage,
                                                         const std::filesystem::path& path);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_BUCKET_ORDER_H_
