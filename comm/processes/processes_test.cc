#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "hetero/comm/testing/backend_contract.h"
#include "hetero/comm/testing/process_ranks.h"

namespace hetero {
namespace {

const TestedBackend kProcesses = {
    .name = "processes", .run = [](int64_t num_ranks, RankFunction function) {
      absl::Status first;
      for (const absl::Status& status : RunProcessRanks(num_ranks, function)) first.Update(status);
      return first;
    }};

// Sizes on both sides of what an envelope holds and of a block of a reduction, and ones that do not
// divide.
INSTANTIATE_TEST_SUITE_P(Processes, BackendContract,
                         testing::Combine(testing::Values(kProcesses), testing::Values(2, 3, 4),
                                          testing::Values(0, 1, 7, 1024, 1025, 40007, 900001)));
INSTANTIATE_TEST_SUITE_P(Processes, BackendWorldContract, testing::Values(kProcesses));

}  // namespace
}  // namespace hetero
