#include "hetero/comm/rendezvous/rendezvous.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/comm/rendezvous/frame.h"
#include "hetero/comm/rendezvous/server.h"
#include "hetero/comm/rendezvous/socket.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(1);

class RendezvousTest : public testing::Test {
 protected:
  void Start(int64_t world_size, absl::Duration timeout = absl::Seconds(30)) {
    world_size_ = world_size;
    timeout_ = timeout;
    server_ =
        RendezvousServer::Start({.world_size = world_size, .host = "127.0.0.1", .timeout = timeout})
            .value();
  }

  absl::StatusOr<std::unique_ptr<Rendezvous>> Join(int64_t rank, int64_t world_size) {
    return Rendezvous::Join({.rank = GlobalRank(rank),
                             .world_size = world_size,
                             .host = "127.0.0.1",
                             .port = server_->port(),
                             .timeout = timeout_});
  }
  std::unique_ptr<Rendezvous> Join(int64_t rank) { return Join(rank, world_size_).value(); }

  int64_t world_size_ = 0;
  absl::Duration timeout_;
  std::unique_ptr<RendezvousServer> server_;
};

TEST_F(RendezvousTest, ValuesAreThereBeforeAndAfterTheyAreAskedFor) {
  Start(2);
  const auto first = Join(0);
  const auto second = Join(1);
  ASSERT_THAT(first->Put("early", std::string("a\0b", 3)), IsOk());
  EXPECT_THAT(second->Get("early", GlobalRank(0)), IsOkAndHolds(std::string("a\0b", 3)));
  std::thread asks([&] { EXPECT_THAT(second->Get("late", GlobalRank(0)), IsOkAndHolds("value")); });
  absl::SleepFor(absl::Milliseconds(50));
  ASSERT_THAT(first->Put("late", "value"), IsOk());
  asks.join();
  first->Leave();
  second->Leave();
}

TEST_F(RendezvousTest, ABarrierOpensForAllWhenTheLastOneComes) {
  constexpr int64_t kRanks = 5;
  Start(kRanks);
  std::atomic<int> entered = 0;
  std::vector<std::thread> threads;
  const std::vector<GlobalRank> members = {GlobalRank(1), GlobalRank(2), GlobalRank(4)};
  for (int64_t i = 0; i < kRanks; ++i) {
    threads.emplace_back([&, i] {
      const auto rendezvous = Join(i);
      if (i == 1 || i == 2 || i == 4) {
        if (i == 2) absl::SleepFor(absl::Milliseconds(50));
        ++entered;
        EXPECT_THAT(rendezvous->Barrier("some", members), IsOk());
        EXPECT_EQ(entered, 3);
      }
      rendezvous->Leave();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(RendezvousTest, AFailureEndsEveryWaitAndIsToldOnce) {
  Start(3);
  const auto first = Join(0);
  const auto second = Join(1);
  const auto third = Join(2);
  std::atomic<int> told = 0;
  third->Watch([&](const absl::Status& cause) {
    EXPECT_THAT(cause, StatusIs(absl::StatusCode::kDataLoss, "rank 0: a bad sample"));
    ++told;
  });
  std::thread fails([&] {
    absl::SleepFor(absl::Milliseconds(50));
    first->Abort(absl::DataLossError("rank 0: a bad sample"));
    first->Abort(absl::InternalError("rank 0: what came of it"));
  });
  EXPECT_THAT(second->Get("nothing", GlobalRank(0)),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("DATA_LOSS: rank 0: a bad sample")));
  fails.join();
  while (third->HealthCheck().ok()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(third->Put("key", "value"), StatusIs(absl::StatusCode::kAborted));
  while (told == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_THAT(first->HealthCheck(), StatusIs(absl::StatusCode::kDataLoss));
  int at_once = 0;
  second->Watch([&](const absl::Status&) { ++at_once; });
  EXPECT_EQ(at_once, 1);
  EXPECT_EQ(told, 1);
}

TEST_F(RendezvousTest, ARankThatGoesWithoutAWordIsNoticedAndOneThatLeavesIsNot) {
  Start(3);
  const auto first = Join(0);
  Join(1)->Leave();
  auto third = Join(2);
  third->SetActivity([] { return RankActivity{.progress = 1, .call = "'x' on model"}; });
  absl::SleepFor(absl::Seconds(2));  // it has told of its call
  EXPECT_THAT(first->HealthCheck(), IsOk());
  third.reset();
  EXPECT_THAT(first->Get("nothing", GlobalRank(2)),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("rank 2: its process ended, or its host is gone; it left 'x'")));
  first->Leave();
}

TEST_F(RendezvousTest, ALongWaitForARankThatDoesNotGetOnEnds) {
  Start(2, kTimeout);
  const auto first = Join(0);
  const auto second = Join(1);
  EXPECT_THAT(first->Get("data", GlobalRank(1)),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("DEADLINE_EXCEEDED: rank 1 lags: it has called nothing yet; for "
                                 "1s rank 0 waits in 'data' of the rendezvous for rank 1")));
}

TEST_F(RendezvousTest, ARankThatSaysThatItGotOnIsWaitedFor) {
  Start(2, kTimeout);
  const auto first = Join(0);
  const auto second = Join(1);
  std::thread works([&] {
    for (int i = 0; i < 25; ++i) {
      absl::SleepFor(absl::Milliseconds(100));
      second->GotOn();
    }
    ASSERT_THAT(second->Put("data", "here"), IsOk());
  });
  EXPECT_THAT(first->Get("data", GlobalRank(1)), IsOkAndHolds("here"));
  works.join();
  first->Leave();
  second->Leave();
}

TEST_F(RendezvousTest, WrongWorldsAndTwiceTheSameRankAreErrorsOfAll) {
  Start(2);
  auto first = Join(0);
  EXPECT_THAT(Join(1, 3), StatusIs(absl::StatusCode::kInvalidArgument,
                                   "rank 1 was started as one of 3 ranks, rank 0 as one of 2"));
  EXPECT_THAT(first->Get("nothing", GlobalRank(1)), StatusIs(absl::StatusCode::kAborted));
  first.reset();
  server_.reset();
  Start(2);
  const auto again = Join(0);
  EXPECT_THAT(Join(0, 2), StatusIs(absl::StatusCode::kInvalidArgument,
                                   "two processes were started as rank 0 of 2"));
}

TEST_F(RendezvousTest, ARankThatEndsBeforeItComesIsToldByItsLauncher) {
  Start(3);
  const auto first = Join(0);
  internal::Connection launcher(
      internal::Connect("127.0.0.1", server_->port(), absl::ZeroDuration()).value());
  // Of a rank that came its own connection tells, and of one that does not exist nobody.
  for (const int64_t rank : {0, 3, -1, 2}) {
    launcher.Send({.kind = internal::FrameKind::kLost, .number = rank});
  }
  ASSERT_THAT(launcher.Flush(), IsOk());
  EXPECT_THAT(
      first->Get("nothing", GlobalRank(2)),
      StatusIs(absl::StatusCode::kAborted, HasSubstr("rank 2: its process ended at its start")));
  EXPECT_THAT(Join(1, 3), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 2")));
}

TEST(RendezvousJoinTest, AServerThatListenedAndDoesNoMoreHasEnded) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(Rendezvous::Join({.rank = GlobalRank(1),
                                .world_size = 2,
                                .host = "127.0.0.1",
                                .port = 1,
                                .is_listening = true}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("rank 0: its process ended")));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST(RendezvousJoinTest, ANameWithoutAddressAndAPortWithoutServerAreErrors) {
  RendezvousOptions options = {.world_size = 2, .host = "no.such.host.invalid", .port = 1};
  EXPECT_THAT(Rendezvous::Join(options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no.such.host.invalid")));
  options.host = "127.0.0.1";
  options.arrival_timeout = absl::Milliseconds(200);
  EXPECT_THAT(Rendezvous::Join(options),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("cannot connect to 127.0.0.1:1: Connection refused")));
}

}  // namespace
}  // namespace hetero
