#ifndef HETERO_CKPT_INSPECT_BUCKETED_TENSORS_H_
#define HETERO_CKPT_INSPECT_BUCKETED_TENSORS_H_

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "hetero/ckpt/inspect/bucket_order.h"
#include "hetero/ckpt/inspect/tensors.h"

namespace hetero {

// `stored` with tensors of parameters in the place of those of buckets: for the key of each part
// "<prefix><kind>.<key>", with every kind that the buckets have ("param", "exp_avg", ...).
// Parameters lie in reverse order, each at a multiple of 64 elements of its bucket. Boxes that
// several groups have alike are read from the first.
// Errors: NOT_FOUND a group whose buckets are not stored; FAILED_PRECONDITION naming bucket, sizes
// and parameter where they do not fit, as of ranks that held other shards; INVALID_ARGUMENT boxes
// that overlap or leave a part of a tensor out.
absl::StatusOr<std::unique_ptr<StoredTensors>> OutOfBuckets(std::unique_ptr<StoredTensors> stored,
                                                            std::span<const BucketGroup> groups);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_BUCKETED_TENSORS_H_
