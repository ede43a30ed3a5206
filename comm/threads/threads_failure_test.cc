// What happens when a rank fails, stops calling, or calls something else.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/comm/threads/threads_world.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Rank {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};
};

TensorView View(std::vector<float>& values) {
  return TensorView(std::span<float>(values), {static_cast<int64_t>(values.size())});
}

Group World(int64_t size) {
  Group group;
  for (int64_t i = 0; i < size; ++i) group.emplace_back(i);
  return group;
}

std::string OtherRanks(const absl::Status& status) {
  const auto payload = status.GetPayload(kOtherRanksPayload);
  return payload ? std::string(*payload) : "";
}

TEST(ThreadsFailureTest, OneFailureWakesWaitersOfEveryCommunicatorAndKind) {
  const absl::Status status =
      RunRanks(4, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        Rank self;
        std::vector<float> values(5000);
        HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(4)}));
        HETERO_RETURN_IF_ERROR(
            world->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream, "first"));
        if (rank == GlobalRank(2)) {
          absl::SleepFor(absl::Milliseconds(20));
          return absl::DataLossError("sample 7 is corrupt");
        }
        absl::Status failed;
        if (rank == GlobalRank(3)) {
          HETERO_ASSIGN_OR_RETURN(auto pair,
                                  factory.Create({"bridge", {GlobalRank(2), GlobalRank(3)}}));
          const ReceiveRequest receive = {GroupRank(0), View(values)};
          HETERO_ASSIGN_OR_RETURN(auto handle,
                                  pair->Exchange({}, {&receive, 1}, self.stream, "rows"));
          failed = handle->Wait();
        } else {
          failed =
              world->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream, "second");
        }
        if (failed.code() != absl::StatusCode::kAborted) return absl::InternalError("not aborted");
        // Calls fail at once from now on, where they have not even met before.
        const absl::Status again =
            world->Broadcast(View(values), GroupRank(0), self.stream, "third");
        if (again.code() != absl::StatusCode::kAborted) return absl::InternalError("not aborted");
        if (world->HealthCheck().code() != absl::StatusCode::kDataLoss) {
          return absl::InternalError("healthy");
        }
        return failed;
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "rank 2: sample 7 is corrupt"));
  EXPECT_THAT(OtherRanks(status),
              AllOf(HasSubstr("ABORTED: rank 0: "), HasSubstr("ABORTED: rank 1: "),
                    HasSubstr("ABORTED: rank 3: "), HasSubstr("exchange 'rows'"),
                    HasSubstr("DATA_LOSS: rank 2: sample 7 is corrupt")));
}

TEST(ThreadsFailureTest, DeadlineNamesTheCallWhoWaitsAndWhoLags) {
  const absl::Status status =
      RunRanks(3,
               [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                 Rank self;
                 std::vector<float> values(3);
                 HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(3)}));
                 HETERO_RETURN_IF_ERROR(
                     world->Broadcast(View(values), GroupRank(0), self.stream, "step.begin"));
                 if (rank == GlobalRank(1)) {
                   while (world->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(5));
                   return absl::OkStatus();
                 }
                 return world->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream,
                                         "llm.dp.grad.bucket3");
               },
               {.timeout = absl::Milliseconds(200)});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               AllOf(HasSubstr("rank "), HasSubstr("'llm.dp.grad.bucket3'"),
                                     HasSubstr("threads[0,1,2] control"), HasSubstr("waited 200ms"),
                                     HasSubstr("for rank 1 (left 'step.begin'"))));
}

TEST(ThreadsFailureTest, DeadlineOfAMessageNamesItsPeer) {
  const absl::Status status =
      RunRanks(2,
               [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                 Rank self;
                 std::vector<float> values(3);
                 HETERO_ASSIGN_OR_RETURN(auto pair, factory.Create({"bridge.forward.0", World(2)}));
                 if (rank == GlobalRank(0)) {
                   while (pair->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(5));
                   return absl::OkStatus();
                 }
                 const ReceiveRequest receive = {GroupRank(0), View(values)};
                 HETERO_ASSIGN_OR_RETURN(
                     auto handle, pair->Exchange({}, {&receive, 1}, self.stream, "vision.rows"));
                 return handle->Wait();
               },
               {.timeout = absl::Milliseconds(100)});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded,
                               AllOf(StartsWith("rank 1: "), HasSubstr("'vision.rows'"),
                                     HasSubstr("a receive of 3 f32"),
                                     HasSubstr("for rank 0 (no call yet)"))));
}

TEST(ThreadsFailureTest, DifferentCallsNameBoth) {
  const absl::Status status =
      RunRanks(2, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        Rank self;
        std::vector<float> values(3000);
        HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(2)}));
        if (rank == GlobalRank(0)) {
          return world->AllReduce(View(values), View(values), ReduceOp::kSum, self.stream, "norm");
        }
        return world->Broadcast(View(values).Rows(0, 7), GroupRank(1), self.stream, "weights");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("rank 0 all_reduce 'norm' of 3000 f32 (sum)"),
                                     HasSubstr("rank 1 broadcast 'weights' of 7 f32"))));
}

TEST(ThreadsFailureTest, DifferentNamesSizesOperationsAndRowsAreErrors) {
  const auto differ = [](auto call) {
    return RunRanks(2, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
      Rank self;
      std::vector<float> values(100);
      HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(2)}));
      return call(*world, View(values), rank.value(), self.stream);
    });
  };
  using Comm = Communicator&;
  EXPECT_THAT(differ([](Comm comm, TensorView x, int64_t rank, Stream& stream) {
                return comm.AllReduce(x, x, ReduceOp::kSum, stream, rank == 0 ? "a" : "b");
              }),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(differ([](Comm comm, TensorView x, int64_t rank, Stream& stream) {
                const TensorView y = x.Rows(0, 50 + rank);
                return comm.AllReduce(y, y, ReduceOp::kSum, stream, "a");
              }),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(differ([](Comm comm, TensorView x, int64_t rank, Stream& stream) {
                return comm.AllReduce(x, x, rank == 0 ? ReduceOp::kSum : ReduceOp::kMax, stream,
                                      "a");
              }),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(differ([](Comm comm, TensorView x, int64_t rank, Stream& stream) {
                const int64_t rows[] = {rank == 0 ? 20 : 25, rank == 0 ? 30 : 25};
                return comm.AllToAllV(x.Rows(0, 50), rows, x.Rows(50, 50), rows, stream, "a");
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sending [20,30]")));
}

TEST(ThreadsFailureTest, TheTwoEndsOfAMessageMustAgree) {
  const absl::Status status =
      RunRanks(2, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        Rank self;
        std::vector<float> values(8);
        HETERO_ASSIGN_OR_RETURN(auto pair, factory.Create({"bridge", World(2)}));
        const SendRequest send = {GroupRank(1), View(values)};
        const ReceiveRequest receive = {GroupRank(0), View(values).Rows(0, 6)};
        HETERO_ASSIGN_OR_RETURN(auto handle,
                                rank == GlobalRank(0)
                                    ? pair->Exchange({&send, 1}, {}, self.stream, "rows.out")
                                    : pair->Exchange({}, {&receive, 1}, self.stream, "rows.in"));
        return handle->Wait();
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("rank 0 post"), HasSubstr("a send of 8 f32"),
                                     HasSubstr("rank 1 post"), HasSubstr("a receive of 6 f32"))));
}

TEST(ThreadsFailureTest, LocalArgumentErrorsNameCallAndCommunicator) {
  ThreadsWorld world(2);
  auto factory = world.Factory(GlobalRank(1));
  auto comm = factory->Create({"model", World(2)}).value();
  Rank self;
  std::vector<float> values(7);
  EXPECT_THAT(comm->ReduceScatter(View(values), View(values).Rows(0, 3), self.stream, "grads"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "reduce_scatter 'grads' on threads[0,1] model: input is f32[7]; expected 6 "
                       "elements, the output's for each member"));
  EXPECT_THAT(factory->Create({"model", {GlobalRank(1), GlobalRank(2)}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("below 2")));
  EXPECT_THAT(factory->Create({"model", {GlobalRank(1)}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least two")));
}

TEST(ThreadsFailureTest, OperandsShareMemoryOnlyWhereACallAllowsIt) {
  ThreadsWorld world(2);
  auto factory = world.Factory(GlobalRank(1));
  auto comm = factory->Create({"model", World(2)}).value();
  Rank self;
  std::vector<float> values(8);
  const auto rows = [&](int64_t begin, int64_t count) { return View(values).Rows(begin, count); };
  const auto refused = [](std::string_view place) {
    return StatusIs(
        absl::StatusCode::kInvalidArgument,
        HasSubstr(absl::StrCat("input and output overlap; expected ", place, "memory apart")));
  };
  EXPECT_THAT(comm->AllReduce(rows(0, 4), rows(1, 4), ReduceOp::kSum, self.stream, "x"),
              refused("output to be input or "));
  EXPECT_THAT(comm->ReduceScatter(rows(0, 8), rows(0, 4), self.stream, "x"),
              refused("output to be this member's chunk of input or "));
  EXPECT_THAT(comm->AllGather(rows(0, 4), rows(0, 8), self.stream, "x"),
              refused("input to be this member's chunk of output or "));
  const int64_t counts[] = {2, 2};
  EXPECT_THAT(comm->AllToAllV(rows(0, 4), counts, rows(0, 4), counts, self.stream, "x"),
              refused(""));
  const SendRequest send = {GroupRank(0), rows(0, 4)};
  const auto exchange = [&](std::span<const ReceiveRequest> receives) {
    return comm->Exchange({&send, 1}, receives, self.stream, "x").status();
  };
  const auto overlaps = StatusIs(absl::StatusCode::kInvalidArgument,
                                 HasSubstr("received from 0 overlaps that of another message"));
  EXPECT_THAT(exchange({{{GroupRank(0), rows(3, 4)}}}), overlaps);
  EXPECT_THAT(exchange({{{GroupRank(0), rows(4, 2)}, {GroupRank(0), rows(5, 2)}}}), overlaps);
}

TEST(ThreadsFailureTest, AbortDuringTrafficNeverTouchesMemoryOfARankThatLeft) {
  // For sanitizers: buffers die as soon as a call returns, at a random moment of the others'.
  for (int round = 0; round < 20; ++round) {
    const absl::Status status =
        RunRanks(4, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
          Rank self;
          HETERO_ASSIGN_OR_RETURN(auto world, factory.Create({"control", World(4)}));
          for (int step = 0;; ++step) {
            if (rank == GlobalRank(round % 4) && step == round) {
              return absl::DataLossError("stop");
            }
            auto values = std::make_unique<std::vector<float>>(20000, 1.0f);
            const GroupRank next((rank.value() + 1) % 4), last((rank.value() + 3) % 4);
            const SendRequest send = {next, View(*values)};
            std::vector<float> received(20000);
            const ReceiveRequest receive = {last, View(received)};
            HETERO_ASSIGN_OR_RETURN(
                auto handle, world->Exchange({&send, 1}, {&receive, 1}, self.stream, "ring"));
            HETERO_RETURN_IF_ERROR(handle->Wait());
            HETERO_RETURN_IF_ERROR(
                world->AllReduce(View(*values), View(*values), ReduceOp::kSum, self.stream, "sum"));
          }
        });
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
  }
}

}  // namespace
}  // namespace hetero
