#ifndef HETERO_PARAMS_SHARD_H_
#define HETERO_PARAMS_SHARD_H_

// Which boxes of a logical tensor a rank holds and where they lie in its local tensor.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/params/parameter_spec.h"

namespace hetero {

// A box of the logical tensor: extents, first element there and in the local tensor, per dim.
struct ShardBox {
  std::vector<int64_t> logical_begin;
  std::vector<int64_t> local_begin;
  std::vector<int64_t> extent;

  bool operator==(const ShardBox&) const = default;
};

struct Shard {
  std::vector<int64_t> shape;   // of the local tensor
  std::vector<ShardBox> boxes;  // disjoint, cover the local tensor
};

// Pure: the same for any rank, without weights or communication.
// Errors: INVALID_ARGUMENT naming parameter, dim, block and axis size where a block does not
// divide.
absl::StatusOr<Shard> ShardOf(const ParameterSpec& spec, const ShardSpec& shard);

}  // namespace hetero

#endif  // HETERO_PARAMS_SHARD_H_
