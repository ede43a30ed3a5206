// Ranks that share one GPU. The laws are those of every backend; here sums have the host's bits.

#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/cuda_testing.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/ops/cuda_testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

RunRanksOptions Shared(int64_t num_ranks, absl::Duration timeout = absl::Seconds(30)) {
  return {.timeout = timeout,
          .devices = std::vector<Device>(static_cast<size_t>(num_ranks), {DeviceKind::kCuda})};
}

Group World(int64_t size) {
  Group group;
  for (int64_t i = 0; i < size; ++i) group.emplace_back(i);
  return group;
}

class ThreadsCudaTest : public testing::TestWithParam<std::tuple<int64_t, int64_t>> {
 protected:
  int64_t count() const { return std::get<1>(GetParam()); }
  RunRanksOptions options() const { return Shared(std::get<0>(GetParam())); }
};

// Also sizes that do not divide into vectors or members, and such as travel inside a meeting of
// the host.
INSTANTIATE_TEST_SUITE_P(Sizes, ThreadsCudaTest,
                         testing::Combine(testing::Values(2, 3, 4), testing::Values(0, 7, 40007)));

TEST_P(ThreadsCudaTest, AllReduceSumsInRankOrderBitwise) {
  EXPECT_THAT(AllReduceEqualsTheHost(options(), DType::kF32, ReduceOp::kSum, count()), IsOk());
}

TEST_P(ThreadsCudaTest, ReduceScatterThenAllGatherIsAllReduceBitwise) {
  EXPECT_THAT(ReduceScatterThenAllGatherIsAllReduce(options(), count()), IsOk());
}

TEST_P(ThreadsCudaTest, AllToAllThereAndBackIsIdentity) {
  EXPECT_THAT(AllToAllThereAndBackIsIdentity(options(), count() / 8 + 1), IsOk());
}

TEST_P(ThreadsCudaTest, BroadcastGivesEveryMemberTheRootsValues) {
  EXPECT_THAT(BroadcastGivesTheRootsValues(options(), count()), IsOk());
}

TEST_P(ThreadsCudaTest, CrossedExchangesInFlightMatchInPostingOrder) {
  EXPECT_THAT(CrossedExchangesMatchInPostingOrder(options(), count()), IsOk());
}

TEST(ThreadsCudaWorldTest, EveryTypeAndReduction) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kI32, DType::kI64}) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
      EXPECT_THAT(AllReduceEqualsTheHost(Shared(3), dtype, op, 1003), IsOk())
          << Name(dtype) << " " << Name(op);
    }
  }
}

TEST(ThreadsCudaWorldTest, HostTensorsTakeTurnsOnOneCommunicator) {
  EXPECT_THAT(HostTensorsTakeTurns(Shared(3)), IsOk());
}

TEST(ThreadsCudaWorldTest, BridgeCarriesRowsBothWays) {
  EXPECT_THAT(BridgeCarriesRowsBothWays(Shared(3)), IsOk());
}

TEST(ThreadsCudaWorldTest, ColocatedBridgeMovesRows) {
  EXPECT_THAT(ColocatedBridgeMovesRows(Shared(4)), IsOk());
}

TEST(ThreadsCudaFailureTest, AFailureInTheMiddleOfTrafficStopsEveryRank) {
  for (int64_t round = 0; round < 6; ++round) {
    const absl::Time start = absl::Now();
    const absl::Status status =
        RunGpuRanks(Shared(4), [&](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
          HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(4)}));
          const int64_t me = self.rank().value();
          const GroupRank next((me + 1) % 4), last((me + 3) % 4);
          for (int64_t step = 0;; ++step) {
            // Memory dies as soon as a call returns, at a random moment of the others'.
            const DeviceTensor out(DType::kF32, {20000}, self.stream());
            const DeviceTensor in(DType::kF32, {20000}, self.stream());
            if (me == round % 4 && step == round) return absl::DataLossError("stop");
            HETERO_RETURN_IF_ERROR(self.Lag(step, 4));
            const SendRequest send = {next, out.view()};
            const ReceiveRequest receive = {last, in.view()};
            HETERO_ASSIGN_OR_RETURN(
                auto ring, world->Exchange({&send, 1}, {&receive, 1}, self.stream(), "ring"));
            HETERO_RETURN_IF_ERROR(ring->Wait());
            HETERO_RETURN_IF_ERROR(
                world->AllReduce(out.view(), out.view(), ReduceOp::kSum, self.stream(), "sum"));
          }
        });
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("stop")));
    EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  }
}

TEST(ThreadsCudaFailureTest, ARankThatStopsCallingIsNamed) {
  const absl::Status status = RunGpuRanks(
      Shared(3, absl::Milliseconds(300)),
      [](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(3)}));
        const DeviceTensor x(DType::kF32, {5}, self.stream());
        HETERO_RETURN_IF_ERROR(
            world->Broadcast(x.view(), GroupRank(0), self.stream(), "step.begin"));
        if (self.rank() == GlobalRank(1)) {
          while (world->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(5));
          return absl::OkStatus();
        }
        return world->AllReduce(x.view(), x.view(), ReduceOp::kSum, self.stream(), "bucket3");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               AllOf(HasSubstr("all_reduce 'bucket3' of 5 f32 (sum) on cuda:0"),
                                     HasSubstr("waited 300ms for rank 1 (left 'step.begin'"))));
}

TEST(ThreadsCudaFailureTest, MembersMustBringMemoryOfOneKind) {
  const absl::Status status =
      RunGpuRanks(Shared(2), [](GpuRank& self, CommunicatorFactory& factory) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(auto pair, factory.Create({"control", World(2)}));
        Arena no_workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream host_stream(Device{}, no_workspace);
        std::vector<float> values(2000);
        const TensorView host(std::span<float>(values), {2000});
        const DeviceTensor x(DType::kF32, {2000}, self.stream());
        return self.rank() == GlobalRank(0)
                   ? pair->AllReduce(x.view(), x.view(), ReduceOp::kSum, self.stream(), "x")
                   : pair->AllReduce(host, host, ReduceOp::kSum, host_stream, "x");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("rank 0 all_reduce 'x' of 2000 f32 (sum) on cuda:0"),
                                     HasSubstr("rank 1 all_reduce 'x' of 2000 f32 (sum)"))));
}

}  // namespace
}  // namespace hetero
