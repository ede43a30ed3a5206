// Ranks are threads here, each with the connections of a process: the messages go through TCP all
// the same.

#include "hetero/comm/testing/backend_benchmarks.h"
#include "hetero/comm/testing/process_ranks.h"

namespace hetero {
namespace {

[[maybe_unused]] const int kRegistered = RegisterBackendBenchmarks(
    [](int64_t num_ranks,
       absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function) {
      absl::Status first;
      for (const absl::Status& status : RunProcessRanks(num_ranks, function)) first.Update(status);
      return first;
    });

}  // namespace
}  // namespace hetero
