#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/barrier.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/testing/backend_contract.h"
#include "hetero/comm/testing/process_ranks.h"
#include "hetero/tensor/stream.h"

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
// More than are connected directly for collectives.
INSTANTIATE_TEST_SUITE_P(ManyProcesses, BackendContract,
                         testing::Combine(testing::Values(kProcesses), testing::Values(10),
                                          testing::Values(0, 7, 1025)));
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

int64_t NumSockets() {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    count += std::filesystem::read_symlink(entry, gone).native().starts_with("socket:") ? 1 : 0;
  }
  return count;
}

// Small collectives of a world make connections along the tree alone, an end each at two ranks.
TEST(ProcessesTest, ConnectionsGrowWithNeighboursAndNotWithTheWorld) {
  constexpr int64_t kRanks = 60;  // four levels
  Group world;
  for (int64_t i = 0; i < kRanks; ++i) world.emplace_back(i);
  std::atomic<int64_t> before = 0;
  std::atomic<int64_t> made = 0;
  absl::Barrier joined(kRanks), counted(kRanks), summed(kRanks), seen(kRanks);
  const std::vector<absl::Status> results =
      RunProcessRanks(kRanks, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        joined.Block();
        if (rank == GlobalRank(0)) before = NumSockets();
        counted.Block();
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        HETERO_ASSIGN_OR_RETURN(const auto comm,
                                factory.Create({"control", world}, CollectivesOnly()));
        std::vector<float> value = {static_cast<float>(rank.value())};
        const TensorView view{std::span<float>(value), {1}};
        HETERO_RETURN_IF_ERROR(comm->AllReduce(view, view, ReduceOp::kMax, stream, "wishes"));
        EXPECT_EQ(value[0], kRanks - 1);
        const float own = static_cast<float>(rank.value());
        std::vector<float> given = {own, -own};
        std::vector<float> all(2 * kRanks);
        HETERO_RETURN_IF_ERROR(comm->AllGather(TensorView{std::span<float>(given), {2}},
                                               TensorView{std::span<float>(all), {2 * kRanks}},
                                               stream, "all"));
        for (size_t i = 0; i < all.size(); ++i) {
          EXPECT_EQ(all[i], static_cast<float>(i / 2) * (i % 2 == 0 ? 1 : -1));
        }
        summed.Block();
        if (rank == GlobalRank(0)) made = NumSockets() - before;
        seen.Block();
        return absl::OkStatus();
      });
  for (const absl::Status& result : results) ASSERT_EQ(result, absl::OkStatus());
  EXPECT_EQ(made, 2 * (kRanks - 1));
}

// The third communicator is new to two of its members only.
TEST(ProcessesTest, MembersThatAreConnectedAlreadyKeepNobodyWaiting) {
  for (const absl::Status& result :
       RunProcessRanks(3, [](GlobalRank rank, CommunicatorFactory&factory) -> absl::Status {
         const GlobalRank zero(0), one(1), two(2);
         std::vector<std::unique_ptr<Communicator>> made;
         for (const Group& members : {Group{zero, one}, Group{zero, two}, Group{zero, one, two}}) {
           if (std::ranges::count(members, rank) == 0) continue;
           HETERO_ASSIGN_OR_RETURN(made.emplace_back(), factory.Create({"x", members}));
         }
         return absl::OkStatus();
       })) {
    EXPECT_EQ(result, absl::OkStatus());
  }
}

}  // namespace
}  // namespace hetero
