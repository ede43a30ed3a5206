#ifndef HETERO_COMM_TESTING_PROCESS_RANKS_H_
#define HETERO_COMM_TESTING_PROCESS_RANKS_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/comm/communicator.h"

namespace hetero {

// Ranks of the processes backend as threads of this process, each with a rendezvous and connections
// of its own. Returns what each rank's RunRank did.
std::vector<absl::Status> RunProcessRanks(
    int64_t num_ranks, absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function,
    absl::Duration timeout = absl::Seconds(60));

}  // namespace hetero

#endif  // HETERO_COMM_TESTING_PROCESS_RANKS_H_
