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
// `replicas` ranks hold the very same box beside each other on the parameter's axes (tp of a dense
// parameter; expt_tp, then ep, of an expert's): because no dim is divided by the axis, or because a
// block is whole. This rank is number `replica` of them; the first is the box's owner.
struct ShardBox {
  std::vector<int64_t> logical_begin;
  std::vector<int64_t> local_begin;
  std::vector<int64_t> extent;
  int64_t replica = 0;
  int64_t replicas = 1;

  bool operator==(const ShardBox&) const = default;
};

struct Shard {
  std::vector<int64_t> shape;   // of the local tensor
  std::vector<ShardBox> boxes;  // disjoint, cover the local tensor
};

// Pure: the same for any rank, without weights or communication. The boxes that the ranks of the
// axes own tile the logical tensor.
// Errors: INVALID_ARGUMENT naming parameter, dim, block, axis and its size where this does not
// divide, with the nearest size that does.
absl::StatusOr<Shard> ShardOf(const ParameterSpec& spec, const ShardSpec& shard);

}  // namespace hetero

#endif  // HETERO_PARAMS_SHARD_H_
