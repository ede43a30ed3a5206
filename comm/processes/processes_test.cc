#include <cstdint>
#include <filesystem>
#include <iterator>
#include <utility>
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
                                          testing::Values(0, 7, 1024, 1025, 900001)));
INSTANTIATE_TEST_SUITE_P(Processes, BackendWorldContract, testing::Values(kProcesses));

int64_t NumEntries(const char* folder) {
  return std::distance(std::filesystem::directory_iterator(folder),
                       std::filesystem::directory_iterator());
}

TEST(ProcessesTest, ARunLeavesNoDescriptorAndNoThread) {
  std::vector<std::pair<int64_t, int64_t>> left;  // descriptors, threads
  for (int run = 0; run < 3; ++run) {
    const std::vector<absl::Status> results =
        RunProcessRanks(3, [](GlobalRank, CommunicatorFactory& factory) {
          return factory.Create({"model", {GlobalRank(0), GlobalRank(1), GlobalRank(2)}}).status();
        });
    for (const absl::Status& result : results) ASSERT_EQ(result, absl::OkStatus());
    left.emplace_back(NumEntries("/proc/self/fd"), NumEntries("/proc/self/task"));
  }
  EXPECT_EQ(left[1], left[0]);
  EXPECT_EQ(left[2], left[0]);
}

}  // namespace
}  // namespace hetero
