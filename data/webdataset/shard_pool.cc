#include "hetero/data/webdataset/shard_pool.h"

#include <sys/resource.h>

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// A part of the descriptors that the process may have, as a data set may have thousands of shards
// and a run several data sets. One that is opened anew is checked anew and its index read.
size_t MaxOpenShards() {
  constexpr rlim_t kFewest = 64;
  constexpr rlim_t kMost = 4096;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kFewest;
  return std::clamp(limit.rlim_cur / 4, kFewest, kMost);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const TarShard>> ShardPool::Open(size_t i) const {
  const absl::MutexLock lock(&mutex_);
  if (open_[i] != nullptr) return open_[i];
  const auto& [name, num_samples] = shards_[i];
  HETERO_ASSIGN_OR_RETURN(std::shared_ptr<const TarShard> shard,
                          TarShard::Open(root_ / name, name));
  if (shard->num_samples() != num_samples) {
    return absl::DataLossError(absl::StrFormat(
        "shard %s: its index has %d samples now, %d when the data set was opened; prepare the data "
        "set again",
        name, shard->num_samples(), num_samples));
  }
  open_[i] = shard;
  open_order_.push_back(i);
  if (open_order_.size() > MaxOpenShards()) {
    open_[open_order_.front()] = nullptr;
    open_order_.erase(open_order_.begin());
  }
  return shard;
}

}  // namespace hetero::data
