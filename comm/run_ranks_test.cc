#include "hetero/comm/run_ranks.h"

#include <pthread.h>

#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/cord.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

TEST(RunRanksTest, AnExceptionIsAnInternalErrorOfItsRankAndStopsTheOthers) {
  const absl::Status status =
      RunRanks(3, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        if (rank == GlobalRank(1)) throw std::runtime_error("vector grew too large");
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        auto world = factory.Create({"control", {GlobalRank(0), GlobalRank(1), GlobalRank(2)}});
        std::vector<float> value(1);
        const TensorView view(std::span<float>(value), {1});
        return (*world)->AllReduce(view, view, ReduceOp::kSum, stream, "x");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               "rank 1: uncaught exception: vector grew too large"));
}

TEST(RunRanksTest, TheFirstFailureWinsAndKeepsWhatItsRankSaidAboutIt) {
  const absl::Status status =
      RunRanks(2, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        auto world = factory.Create({"control", {GlobalRank(0), GlobalRank(1)}});
        std::vector<float> value(2);
        const TensorView view(std::span<float>(value), {2});
        if (rank == GlobalRank(0)) {
          return Annotate((*world)->Broadcast(view, GroupRank(0), stream, "x"), "step 5");
        }
        const absl::Status failed = (*world)->Broadcast(view, GroupRank(1), stream, "x");
        return Annotate(failed, "step 5");
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               testing::MatchesRegex("rank [01]: step 5: .*from member 0.*from "
                                                     "member 1.*")));
}

TEST(RunRanksTest, AFailureTellsTheLastCallsOfEveryRank) {
  const absl::Status status =
      RunRanks(2, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        HETERO_ASSIGN_OR_RETURN(auto pair,
                                factory.Create({"bridge", {GlobalRank(0), GlobalRank(1)}}));
        std::vector<float> value(2);
        const TensorView view(std::span<float>(value), {2});
        for (int i = 0; i < 20; ++i) {
          HETERO_RETURN_IF_ERROR(pair->AllReduce(view, view, ReduceOp::kSum, stream, "sum"));
        }
        if (rank == GlobalRank(0)) return absl::DataLossError("sample 7 is corrupt");
        const ReceiveRequest receive = {GroupRank(0), view};
        HETERO_ASSIGN_OR_RETURN(auto transfer, pair->Exchange({}, {&receive, 1}, stream, "rows"));
        return transfer->Wait();
      });
  const std::optional<absl::Cord> payload = status.GetPayload(kLastCallsPayload);
  ASSERT_TRUE(payload.has_value());
  const std::string text(*payload);
  const std::string first_rank = text.substr(0, text.find("rank 1:"));
  EXPECT_THAT(first_rank, testing::StartsWith("rank 0: 20 calls, 0 in flight; the last 16:\n"));
  EXPECT_THAT(first_rank, testing::HasSubstr(" all_reduce sum on threads[0,1] bridge\n"));
  // Rank 0 may have failed before or after rank 1 posted its receive.
  EXPECT_THAT(text, testing::ContainsRegex(
                        "rank 1: 2[12] calls, 1 in flight; the last 16:\n(.*\n){15}.*IN FLIGHT  "
                        "(wait|exchange) rows on threads\\[0,1\\] bridge\n$"));
}

TEST(RunRanksTest, AbortOnFailureStopsTheOthersWhileItsCallersMemoryStands) {
  const absl::Status status =
      RunRanks(2, [](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        HETERO_ASSIGN_OR_RETURN(auto pair,
                                factory.Create({"control", {GlobalRank(0), GlobalRank(1)}}));
        const absl::Status failed = AbortOnFailure(rank, factory, [&]() -> absl::Status {
          if (rank == GlobalRank(1)) throw std::runtime_error("vector grew too large");
          while (pair->HealthCheck().ok()) std::this_thread::yield();
          return absl::OkStatus();
        });
        EXPECT_FALSE(pair->HealthCheck().ok());
        return failed;
      });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInternal,
                               "rank 1: uncaught exception: vector grew too large"));
}

// A rank that some library keeps: it hears of no abort, and comes back only when the test is over.
TEST(RunRanksTest, ARankThatNeverComesBackIsToldOfAfterTheDeadline) {
  absl::Notification release;
  std::vector<GlobalRank> told;
  std::string others;
  absl::StatusCode code = absl::StatusCode::kOk;
  const absl::Status status = RunRanks(
      3,
      [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
        if (rank == GlobalRank(1)) {
          release.WaitForNotification();
          return absl::OkStatus();
        }
        Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
        Stream stream(Device{}, workspace);
        auto world = factory.Create({"control", {GlobalRank(0), GlobalRank(1), GlobalRank(2)}});
        std::vector<float> value(1);
        const TensorView view(std::span<float>(value), {1});
        return (*world)->AllReduce(view, view, ReduceOp::kSum, stream, "x");
      },
      {.timeout = absl::Milliseconds(200),
       .on_stuck = [&](const absl::Status& failure, std::span<const GlobalRank> ranks) {
         told.assign(ranks.begin(), ranks.end());
         code = failure.code();
         others = std::string(failure.GetPayload(kOtherRanksPayload).value());
         release.Notify();
       }});
  EXPECT_THAT(told, testing::ElementsAre(GlobalRank(1)));
  EXPECT_EQ(code, absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(others, testing::HasSubstr("rank 1: has not come back"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(std::string(status.GetPayload(kOtherRanksPayload).value()),
              testing::Not(testing::HasSubstr("has not come back")));
}

TEST(RunRanksTest, AThreadThatCannotBeMadeFailsTheRun) {
  pthread_attr_t usual, huge;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  ASSERT_EQ(pthread_attr_init(&huge), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&huge, size_t{1} << 50), 0);  // more than addresses
  ASSERT_EQ(pthread_setattr_default_np(&huge), 0);
  const absl::Status status =
      RunRanks(3, [](GlobalRank, CommunicatorFactory&) { return absl::OkStatus(); });
  ASSERT_EQ(pthread_setattr_default_np(&usual), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               testing::HasSubstr("cannot start the thread of rank 0: ")));
}

TEST(RunRanksTest, WantOfMemoryIsNoBug) {
  const auto wants = [](GlobalRank, CommunicatorFactory&) -> absl::Status {
    throw std::bad_alloc();
  };
  EXPECT_THAT(RunRanks(2, wants), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(RunRanksTest, NcclNeedsAGpuForEachRank) {
  const auto never = [](GlobalRank, CommunicatorFactory&) { return absl::InternalError("ran"); };
  const RunRanksOptions options = {.backend = RankBackend::kNccl, .devices = {Device{}, Device{}}};
  EXPECT_THAT(RunRanks(2, never, options),
              testing::AnyOf(StatusIs(absl::StatusCode::kUnimplemented,
                                      testing::HasSubstr("build it with --config=cuda")),
                             StatusIs(absl::StatusCode::kInvalidArgument,
                                      testing::HasSubstr("rank 0 is on cpu"))));
}

TEST(RunRanksTest, RunsEveryRankOnce) {
  std::vector<int> calls(5);
  EXPECT_THAT(RunRanks(5,
                       [&](GlobalRank rank, CommunicatorFactory&) {
                         ++calls[static_cast<size_t>(rank.value())];
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_EQ(calls, std::vector<int>(5, 1));
}

}  // namespace
}  // namespace hetero
