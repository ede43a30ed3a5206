#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/comm/testing/backend_contract.h"
#include "hetero/comm/threads/threads_world.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

const TestedBackend kThreads = {
    .name = "threads", .run = [](int64_t num_ranks, RankFunction function) {
      return RunRanks(num_ranks, function, {.timeout = absl::Seconds(30)});
    }};

// Sizes on both sides of what travels inside the meeting, and ones that do not divide.
INSTANTIATE_TEST_SUITE_P(Threads, BackendContract,
                         testing::Combine(testing::Values(kThreads), testing::Values(2, 3, 4),
                                          testing::Values(0, 1, 7, 1024, 1025, 40007)));
INSTANTIATE_TEST_SUITE_P(Threads, BackendWorldContract, testing::Values(kThreads));

struct Rank {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};
};

TensorView View(std::vector<float>& values) {
  return TensorView(std::span(values), {static_cast<int64_t>(values.size())});
}

const Group kWorld = {GlobalRank(0), GlobalRank(1)};

TEST(ThreadsTest, ShapeOnlyCallsAreRecordedAsRealOnesAndWaitForNobody) {
  std::vector<std::vector<CollectiveCall>> recorded(2);
  std::vector<uint64_t> hashes(2);
  const auto run = [](Communicator& comm, Stream& stream, const TensorView& a, const TensorView& b,
                      const TensorView& c) -> absl::Status {
    HETERO_RETURN_IF_ERROR(comm.AllReduce(a, a, ReduceOp::kSum, stream, "reduce"));
    HETERO_RETURN_IF_ERROR(comm.ReduceScatter(b, a, stream, "scatter"));
    HETERO_RETURN_IF_ERROR(comm.AllGather(a, b, stream, "gather"));
    HETERO_RETURN_IF_ERROR(comm.Broadcast(a, GroupRank(0), stream, "weights"));
    const int64_t rows[] = {5, 5};
    HETERO_RETURN_IF_ERROR(comm.AllToAllV(b, rows, c, rows, stream, "tokens"));
    const GroupRank peer(1 - comm.rank().value());
    const SendRequest send = {peer, a};
    const ReceiveRequest receive = {peer, b.Rows(0, 5)};
    HETERO_ASSIGN_OR_RETURN(auto handle, comm.Exchange({&send, 1}, {&receive, 1}, stream, "rows"));
    return handle->Wait();
  };
  // Rank 0 is alone: a shape-only call must not need its peer.
  ThreadsWorld world(2);
  auto factory = world.Factory(GlobalRank(0));
  auto comm = factory->Create({"model", kWorld}).value();
  Arena counting = Arena::Counting(MemoryLabel::kWorkspace);
  Stream shape_only(Device{DeviceKind::kShapeOnly}, counting);
  shape_only.ledger().RecordCollectives(true);
  const TensorView a = counting.Allocate(DType::kF32, {5}).value();
  const TensorView b = counting.Allocate(DType::kF32, {10}).value();
  const TensorView c = counting.Allocate(DType::kF32, {10}).value();
  ASSERT_THAT(run(*comm, shape_only, a, b, c), IsOk());
  EXPECT_THAT(shape_only.ledger().collectives(),
              testing::ElementsAre(CollectiveCall{"reduce", "all_reduce", 20},
                                   CollectiveCall{"scatter", "reduce_scatter", 20},
                                   CollectiveCall{"gather", "all_gather", 20},
                                   CollectiveCall{"weights", "broadcast", 20},
                                   CollectiveCall{"tokens", "all_to_all", 20},
                                   CollectiveCall{"rows", "exchange", 20}));

  ASSERT_THAT(
      RunRanks(2,
               [&](GlobalRank rank, CommunicatorFactory& real) -> absl::Status {
                 Rank self;
                 const auto i = static_cast<size_t>(rank.value());
                 HETERO_ASSIGN_OR_RETURN(auto real_comm, real.Create({"model", kWorld}));
                 self.stream.ledger().RecordCollectives(true);
                 std::vector<float> x(5), y(10), z(10);
                 HETERO_RETURN_IF_ERROR(run(*real_comm, self.stream, View(x), View(y), View(z)));
                 recorded[i] = self.stream.ledger().collectives();
                 hashes[i] = self.stream.ledger().collective_hash();
                 return absl::OkStatus();
               }),
      IsOk());
  EXPECT_EQ(recorded[0], shape_only.ledger().collectives());
  EXPECT_EQ(hashes[0], shape_only.ledger().collective_hash());
  EXPECT_EQ(hashes[1], hashes[0]);
}

}  // namespace
}  // namespace hetero
