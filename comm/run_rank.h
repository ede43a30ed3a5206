#ifndef HETERO_COMM_RUN_RANK_H_
#define HETERO_COMM_RUN_RANK_H_

#include <functional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/tensor/device.h"

namespace hetero {

struct RunRankOptions {
  // A GPU: the rank's own, with NCCL between the ranks; else comm/processes.
  Device device = {};
  // How long this rank may take to come back after the run has failed, at most half a minute.
  absl::Duration timeout = absl::Minutes(5);
  // As in RunRanksOptions, of this rank.
  std::function<void(const absl::Status& failure)> on_stuck = {};
};

// What RunRanks is for ranks that are threads: calls `function` on a thread for the one rank of
// this process and waits for it, and then for the others to be done too. Returns OK when every rank
// was OK, else the first failure of the run, "rank 2: ...", with what this rank returned and its
// last calls as payloads. Does not Leave the rendezvous.
// Errors before the rank runs: those of CreateNcclProcess or ProcessesWorld::Create.
absl::Status RunRank(Rendezvous& rendezvous,
                     absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
                     const RunRankOptions& options = {});

}  // namespace hetero

#endif  // HETERO_COMM_RUN_RANK_H_
