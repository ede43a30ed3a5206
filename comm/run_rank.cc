#include "hetero/comm/run_rank.h"

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/comm/nccl/nccl_process.h"
#include "hetero/comm/processes/processes_world.h"
#include "hetero/comm/rank_threads.h"
#include "hetero/comm/rank_world.h"

namespace hetero {
namespace {

absl::StatusOr<std::unique_ptr<RankWorld>> MakeWorld(Rendezvous& rendezvous, Device device) {
  if (device.kind == DeviceKind::kCuda) return CreateNcclProcess(rendezvous, device);
  return ProcessesWorld::Create(rendezvous);
}

}  // namespace

absl::Status RunRank(Rendezvous& rendezvous,
                     absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                     const RunRankOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankWorld> world,
                          MakeWorld(rendezvous, options.device));
  const GlobalRank self = rendezvous.rank();
  std::vector<GlobalRank> everybody;
  for (int64_t i = 0; i < rendezvous.world_size(); ++i) everybody.emplace_back(i);
  // What a rank sent last is on its way until the others have it: connections stay open for them.
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    HETERO_RETURN_IF_ERROR(function(rank, factory));
    return rendezvous.Barrier("end of the run", everybody);
  };
  internal::RankThreads thread(std::span(&self, 1), *world);
  thread.Start(run);
  thread.Await(
      options.timeout, options.on_stuck == nullptr
                           ? std::function<void(const absl::Status&, std::span<const GlobalRank>)>()
                           : [&](const absl::Status& failure, std::span<const GlobalRank>) {
                               options.on_stuck(failure);
                             });
  return thread.Outcome();
}

}  // namespace hetero
