#include "hetero/comm/nccl/nccl_world.h"

#include <map>
#include <utility>

#include "hetero/comm/nccl/nccl_ranks.h"
#include "hetero/comm/nccl/nccl_threads.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<RankWorld>> CreateNcclWorld(std::vector<Device> devices,
                                                           NcclOptions options) {
  const auto num_ranks = static_cast<int64_t>(devices.size());
  std::map<GlobalRank, Device> of_ranks;
  for (int64_t i = 0; i < num_ranks; ++i) of_ranks[GlobalRank(i)] = devices[static_cast<size_t>(i)];
  return internal::NcclRanks::Start(
      std::make_unique<internal::NcclThreads>(num_ranks, options.timeout), std::move(of_ranks));
}

}  // namespace hetero
