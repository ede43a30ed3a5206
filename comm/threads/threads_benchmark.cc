#include "hetero/comm/backend_benchmarks.h"
#include "hetero/comm/run_ranks.h"

namespace hetero {
namespace {

[[maybe_unused]] const int kRegistered = RegisterBackendBenchmarks(
    [](int64_t num_ranks,
       absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function) {
      return RunRanks(num_ranks, function);
    });

}  // namespace
}  // namespace hetero
