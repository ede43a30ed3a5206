#include "hetero/comm/run_ranks.h"
#include "hetero/comm/testing/backend_benchmarks.h"

namespace hetero {
namespace {

[[maybe_unused]] const int kRegistered = RegisterBackendBenchmarks(
    [](int64_t num_ranks,
       absl::FunctionRef<absl::Status(GlobalRank, CommunicatorFactory&)> function) {
      return RunRanks(num_ranks, function);
    });

}  // namespace
}  // namespace hetero
