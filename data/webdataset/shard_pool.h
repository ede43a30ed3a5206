#ifndef HETERO_DATA_WEBDATASET_SHARD_POOL_H_
#define HETERO_DATA_WEBDATASET_SHARD_POOL_H_

// The shards of a data set, of which some are open.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/data/tar/shard.h"

namespace hetero::data {

// Opens shards when they are asked for and keeps some of them open: all pools of the process
// together as many as a quarter of its descriptors, 64 at least, each an equal part of these and
// one at least. Thread safe.
class ShardPool {
 public:
  // Names relative to `root`, and how many samples each shard has.
  using Shards = std::vector<std::pair<std::string, int64_t>>;

  ShardPool(std::filesystem::path root, Shards shards);
  ShardPool(const ShardPool&) = delete;
  ~ShardPool();

  const Shards& shards() const { return shards_; }

  // Shard `i` in [0, shards().size()); it outlives its place in the pool while it is held.
  // Errors: those of TarShard::Open, DATA_LOSS for another number of samples.
  absl::StatusOr<std::shared_ptr<const TarShard>> Open(size_t i) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::filesystem::path root_;
  Shards shards_;

  mutable absl::Mutex mutex_;
  mutable std::vector<std::shared_ptr<const TarShard>> open_ ABSL_GUARDED_BY(mutex_);
  mutable std::vector<size_t> open_order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::data

#endif  // HETERO_DATA_WEBDATASET_SHARD_POOL_H_
