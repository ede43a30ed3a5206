#include "hetero/data/webdataset/shard_pool.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// Descriptors are the process's, so all its pools count.
std::atomic<size_t> num_pools = 0;

// A part of the descriptors that the process may have, as a data set may have thousands of shards
// and a run several data sets. One that is opened anew is checked anew and its index read.
size_t MaxOpenShards() {
  constexpr rlim_t kFewest = 64;
  constexpr rlim_t kMost = 4096;
  rlimit limit = {};
  const rlim_t of_all = getrlimit(RLIMIT_NOFILE, &limit) != 0
                            ? kFewest
                            : std::clamp(limit.rlim_cur / 4, kFewest, kMost);
  return std::max<size_t>(of_all / num_pools, 1);
}

}  // namespace

ShardPool::ShardPool(std::filesystem::path root, Shards shards)
    : root_(std::move(root)), shards_(std::move(shards)), open_(shards_.size()) {
  ++num_pools;
}

ShardPool::~ShardPool() { --num_pools; }

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
  // More than one where pools have come since.
  const size_t most = MaxOpenShards();
  const auto kept =
      open_order_.end() - static_cast<std::ptrdiff_t>(std::min(most, open_order_.size()));
  for (auto closed = open_order_.begin(); closed != kept; ++closed) open_[*closed] = nullptr;
  open_order_.erase(open_order_.begin(), kept);
  return shard;
}

}  // namespace hetero::data
