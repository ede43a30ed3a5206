#include "hetero/comm/run_ranks.h"

#include <memory>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/exceptions.h"
#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_world.h"
#include "hetero/comm/rank_threads.h"
#include "hetero/comm/rank_world.h"
#include "hetero/comm/threads/threads_world.h"

namespace hetero {
namespace {

absl::StatusOr<std::unique_ptr<RankWorld>> MakeWorld(int64_t num_ranks,
                                                     const RunRanksOptions& options) {
  if (options.backend == RankBackend::kThreads) {
    return std::make_unique<ThreadsWorld>(num_ranks, ThreadsOptions{.timeout = options.timeout});
  }
  CHECK_EQ(static_cast<int64_t>(options.devices.size()), num_ranks);
  return CreateNcclWorld(options.devices, {.timeout = options.timeout});
}

}  // namespace

absl::Status RunRanks(int64_t num_ranks,
                      absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                      const RunRanksOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankWorld> world, MakeWorld(num_ranks, options));
  std::vector<GlobalRank> all;
  for (int64_t i = 0; i < num_ranks; ++i) all.emplace_back(i);
  internal::RankThreads ranks(all, *world);
  ranks.Start(function);
  ranks.Await(options.timeout, options.on_stuck);
  return ranks.Outcome();
}

absl::Status AbortOnFailure(GlobalRank rank, CommunicatorFactory& factory,
                            absl::FunctionRef<absl::Status()> body) {
  const absl::Status status = CatchExceptions(body);
  if (!status.ok()) factory.AbortAll(Annotate(status, absl::StrCat("rank ", rank)));
  return status;
}

}  // namespace hetero
