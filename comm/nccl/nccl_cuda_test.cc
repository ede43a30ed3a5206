// Two ranks with a GPU each. The laws are those of every backend: with two members the order of a
// sum does not change its bits.

#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/cuda_testing.h"
#include "hetero/comm/nccl/nccl_world.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/cuda/runtime.h"
#include "hetero/tensor/ops/cuda_testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

RunRanksOptions Gpus(int num_gpus, absl::Duration timeout = absl::Seconds(30)) {
  RunRanksOptions options = {.timeout = timeout, .backend = RankBackend::kNccl};
  for (int i = 0; i < num_gpus; ++i) options.devices.push_back({DeviceKind::kCuda, i});
  return options;
}

const Group kWorld = {GlobalRank(0), GlobalRank(1)};

class NcclCudaTest : public testing::Test {
 protected:
  void SetUp() override {
    const absl::StatusOr<int> num_gpus = cuda::CountDevices();
    ASSERT_THAT(num_gpus, IsOk());
    num_gpus_ = *num_gpus;
    if (num_gpus_ < 2) {
      GTEST_SKIP() << "NCCL between ranks needs 2 GPUs; this machine has " << num_gpus_;
    }
  }

  int num_gpus_ = 0;
};

TEST_F(NcclCudaTest, AllReduceOfEveryTypeAndReduction) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kI32, DType::kI64}) {
    for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin}) {
      EXPECT_THAT(AllReduceEqualsTheHost(Gpus(2), dtype, op, 1003), IsOk())
          << Name(dtype) << " " << Name(op);
    }
  }
}

TEST_F(NcclCudaTest, AllReduceOfEverySize) {
  for (const int64_t count : {0, 1, 7, 40007, 3000001}) {
    EXPECT_THAT(AllReduceEqualsTheHost(Gpus(2), DType::kF32, ReduceOp::kSum, count), IsOk())
        << count;
  }
}

TEST_F(NcclCudaTest, ReduceScatterThenAllGatherIsAllReduceBitwise) {
  for (const int64_t count : {0, 7, 40007}) {
    EXPECT_THAT(ReduceScatterThenAllGatherIsAllReduce(Gpus(2), count), IsOk()) << count;
  }
}

TEST_F(NcclCudaTest, AllToAllThereAndBackIsIdentity) {
  for (const int64_t scale : {1, 5001}) {
    EXPECT_THAT(AllToAllThereAndBackIsIdentity(Gpus(2), scale), IsOk()) << scale;
  }
}

TEST_F(NcclCudaTest, BroadcastGivesEveryMemberTheRootsValues) {
  EXPECT_THAT(BroadcastGivesTheRootsValues(Gpus(2), 40007), IsOk());
}

TEST_F(NcclCudaTest, CrossedExchangesInFlightMatchInPostingOrder) {
  for (const int64_t count : {7, 400007}) {
    EXPECT_THAT(CrossedExchangesMatchInPostingOrder(Gpus(2), count), IsOk()) << count;
  }
}

TEST_F(NcclCudaTest, HostTensorsTakeTurnsOnOneCommunicator) {
  EXPECT_THAT(HostTensorsTakeTurns(Gpus(2)), IsOk());
}

TEST_F(NcclCudaTest, BridgeCarriesRowsBothWays) {
  EXPECT_THAT(BridgeCarriesRowsBothWays(Gpus(num_gpus_ > 2 ? 3 : 2)), IsOk());
}

TEST_F(NcclCudaTest, ColocatedBridgeMovesRows) {
  EXPECT_THAT(ColocatedBridgeMovesRows(Gpus(2)), IsOk());
}

// What a rank of a failure test has: memory that stands until its last call has returned.
struct Tensors {
  explicit Tensors(Stream& stream)
      : buffer(
            Buffer::Allocate(stream.device(), MemoryLabel::kData, 2 * kCount * 4, memory).value()) {
  }
  TensorView out() const { return buffer.View(DType::kF32, {2, kCount}).At(0); }
  TensorView in() const { return buffer.View(DType::kF32, {2, kCount}).At(1); }

  static constexpr int64_t kCount = 20000;
  MemoryLedger memory;
  Buffer buffer;
};

absl::Status RunWithTensors(
    const RunRanksOptions& options,
    const std::function<absl::Status(GpuRank&, Tensors&, CommunicatorFactory&)>& function) {
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) {
    GpuRank self(rank, options.devices[static_cast<size_t>(rank.value())]);
    Tensors tensors(self.stream());
    return AbortOnFailure(rank, factory, [&] { return function(self, tensors, factory); });
  };
  return RunRanks(static_cast<int64_t>(options.devices.size()), run, options);
}

TEST_F(NcclCudaTest, ARankThatThrowsStopsOneThatWaitsForItsGpu) {
  for (int round = 0; round < 4; ++round) {
    const absl::Time start = absl::Now();
    absl::Duration waited;
    const absl::Status status = RunWithTensors(
        Gpus(2),
        [&](GpuRank& self, Tensors& tensors, CommunicatorFactory& factory) -> absl::Status {
          Stream& stream = self.stream();
          HETERO_ASSIGN_OR_RETURN(auto gradient, factory.Create({"gradient", kWorld}));
          HETERO_ASSIGN_OR_RETURN(auto bridge, factory.Create({"bridge", kWorld}));
          const GroupRank peer(1 - self.rank().value());
          const SendRequest send = {peer, tensors.out()};
          const ReceiveRequest receive = {peer, tensors.in()};
          for (int step = 0; step < 3; ++step) {
            HETERO_ASSIGN_OR_RETURN(auto rows,
                                    bridge->Exchange({&send, 1}, {&receive, 1}, stream, "rows"));
            HETERO_RETURN_IF_ERROR(rows->Wait());
            HETERO_RETURN_IF_ERROR(
                gradient->AllReduce(tensors.out(), tensors.out(), ReduceOp::kSum, stream, "sum"));
          }
          if (self.rank() == GlobalRank(1)) {
            // A receive of its own is in flight, which nobody will ever send.
            HETERO_ASSIGN_OR_RETURN(auto never,
                                    bridge->Exchange({}, {&receive, 1}, stream, "ahead"));
            throw std::runtime_error("vector grew too large");
          }
          HETERO_RETURN_IF_ERROR(
              gradient->AllReduce(tensors.out(), tensors.out(), ReduceOp::kSum, stream, "last"));
          // The host wait of a step: the metrics.
          const absl::Time begin = absl::Now();
          HETERO_RETURN_IF_ERROR(stream.Synchronize());
          waited = absl::Now() - begin;
          return gradient->Broadcast(tensors.out(), GroupRank(0), stream, "after");
        });
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                                 "rank 1: uncaught exception: vector grew too large"));
    EXPECT_LT(absl::Now() - start, absl::Seconds(10));
    EXPECT_LT(waited, absl::Seconds(3));
  }
}

TEST_F(NcclCudaTest, ARankThatStopsCallingIsNamedWithinTheDeadline) {
  // The first all-reduce stops on the host, which makes a connection; others on the GPU.
  enum class Stop { kFirstAllReduce, kAllReduce, kExchange };
  for (const Stop stop : {Stop::kFirstAllReduce, Stop::kAllReduce, Stop::kExchange}) {
    const absl::Time start = absl::Now();
    const absl::Status status = RunWithTensors(
        Gpus(2, absl::Seconds(2)),
        [&](GpuRank& self, Tensors& tensors, CommunicatorFactory& factory) -> absl::Status {
          Stream& stream = self.stream();
          HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", kWorld}));
          if (stop == Stop::kAllReduce) {
            HETERO_RETURN_IF_ERROR(
                world->AllReduce(tensors.out(), tensors.out(), ReduceOp::kSum, stream, "before"));
          }
          HETERO_RETURN_IF_ERROR(
              world->Broadcast(tensors.out(), GroupRank(0), stream, "step.begin"));
          if (self.rank() == GlobalRank(1)) {
            while (world->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(5));
            return absl::OkStatus();
          }
          if (stop == Stop::kExchange) {
            const ReceiveRequest receive = {GroupRank(1), tensors.in()};
            HETERO_ASSIGN_OR_RETURN(auto rows, world->Exchange({}, {&receive, 1}, stream, "rows"));
            HETERO_RETURN_IF_ERROR(rows->Wait());
          } else {
            HETERO_RETURN_IF_ERROR(
                world->AllReduce(tensors.out(), tensors.out(), ReduceOp::kSum, stream, "bucket3"));
          }
          HETERO_RETURN_IF_ERROR(stream.Synchronize());
          return world->Broadcast(tensors.out(), GroupRank(0), stream, "after");
        });
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                 AllOf(HasSubstr("rank 0: nccl[0,1] control: "),
                                       AnyOf(HasSubstr("all_reduce 'bucket3' of 20000 f32 (sum)"),
                                             HasSubstr("exchange 'rows'")),
                                       HasSubstr("waited 2s for rank 1 (left 'step.begin'"))));
    EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  }
}

TEST_F(NcclCudaTest, ARankThatNeverMakesItsCommunicatorIsNamed) {
  const absl::Status status =
      RunWithTensors(Gpus(2, absl::Seconds(2)),
                     [&](GpuRank& self, Tensors&, CommunicatorFactory& factory) -> absl::Status {
                       HETERO_ASSIGN_OR_RETURN(auto first, factory.Create({"control", kWorld}));
                       if (self.rank() == GlobalRank(1)) {
                         while (first->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(5));
                         return absl::OkStatus();
                       }
                       return factory.Create({"gradient", kWorld}).status();
                     });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               HasSubstr("nccl[0,1] gradient: create waited 2s for rank 1")));
}

TEST_F(NcclCudaTest, DifferentCallsNameBoth) {
  const absl::Status status = RunWithTensors(
      Gpus(2), [&](GpuRank& self, Tensors& tensors, CommunicatorFactory& factory) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", kWorld}));
        const TensorView x = tensors.out().Rows(0, 100 + self.rank().value());
        HETERO_RETURN_IF_ERROR(world->AllReduce(x, x, ReduceOp::kSum, self.stream(), "norm"));
        HETERO_RETURN_IF_ERROR(self.stream().Synchronize());
        return world->HealthCheck();
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("all_reduce 'norm' of 100 f32 (sum) on cuda:0"),
                                     HasSubstr("all_reduce 'norm' of 101 f32 (sum) on cuda:1"))));
}

TEST_F(NcclCudaTest, SeveralWaitingCommunicatorsGoDownTogether) {
  const absl::Time start = absl::Now();
  const absl::Status status = RunWithTensors(
      Gpus(2), [&](GpuRank& self, Tensors& tensors, CommunicatorFactory& factory) -> absl::Status {
        std::vector<std::unique_ptr<Communicator>> communicators;
        for (const char* channel : {"model", "gradient", "forward", "backward"}) {
          HETERO_ASSIGN_OR_RETURN(communicators.emplace_back(), factory.Create({channel, kWorld}));
        }
        if (self.rank() == GlobalRank(1)) {
          absl::SleepFor(absl::Milliseconds(200));
          return absl::DataLossError("sample 7 is corrupt");
        }
        // More work behind a stuck kernel than a stream takes: the host is stopped in a call.
        for (int i = 0; i < 3000; ++i) {
          HETERO_RETURN_IF_ERROR(communicators[static_cast<size_t>(i) % 4]->AllReduce(
              tensors.out(), tensors.out(), ReduceOp::kSum, self.stream(), "sum"));
        }
        return self.stream().Synchronize();
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "rank 1: sample 7 is corrupt"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST(NcclWorldTest, RanksDoNotShareAGpu) {
  EXPECT_THAT(CreateNcclWorld({{DeviceKind::kCuda, 0}, {DeviceKind::kCuda, 0}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("ranks 0 and 1 share cuda:0"), HasSubstr("threads"))));
}

}  // namespace
}  // namespace hetero
