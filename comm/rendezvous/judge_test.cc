#include "hetero/comm/rendezvous/judge.h"

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::Optional;

constexpr JudgeLimits kLimits = {
    .silence = absl::Seconds(2), .stall = absl::Seconds(3), .arrival = absl::Seconds(10)};

RankView Waiting(std::string_view call, std::initializer_list<int64_t> peers) {
  RankView view{.came = true, .stalled = absl::Seconds(4)};
  view.activity = {.call = std::string(call), .in_call = true};
  for (const int64_t peer : peers) view.activity.waits_for.emplace_back(peer);
  return view;
}

RankView Working(std::string_view call, absl::Duration stalled = absl::Seconds(4)) {
  return {.came = true, .activity = {.call = std::string(call)}, .stalled = stalled};
}

std::optional<absl::Status> JudgeThem(const std::vector<RankView>& ranks) {
  return Judge(ranks, absl::Seconds(20), kLimits);
}

TEST(JudgeTest, AllIsWellWhileAnybodyGetsOn) {
  EXPECT_EQ(JudgeThem({Waiting("'x'", {1}), Working("'w'", absl::Seconds(1))}), std::nullopt);
  // Nobody waits: a long step, or an evaluation that calls nothing.
  EXPECT_EQ(JudgeThem({Working("'x'"), Working("'x'")}), std::nullopt);
}

TEST(JudgeTest, NamesWhoLagsAndWhoWaitsThroughOthers) {
  EXPECT_THAT(
      JudgeThem({Waiting("'a' on processes[0,1] model", {1}),
                 Waiting("'b' on processes[1,2] gradient", {2}),
                 Working("'w' on processes[2,3] model")}),
      Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                        "rank 2 lags: it left 'w' on processes[2,3] model; for 3s rank 0 waits in "
                        "'a' on processes[0,1] model for rank 1; rank 1 waits in 'b' on "
                        "processes[1,2] gradient for rank 2")));
}

TEST(JudgeTest, NamesACircle) {
  EXPECT_THAT(JudgeThem({Waiting("'a'", {1}), Waiting("'b'", {0})}),
              Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                "no rank got on for 3s, they wait for each other: rank 0 waits in "
                                "'a' for rank 1; rank 1 waits in 'b' for rank 0")));
}

TEST(JudgeTest, NamesWhoHasEndedWhileOthersWait) {
  RankView ended = Working("'last'", absl::ZeroDuration());
  ended.left = true;
  EXPECT_THAT(JudgeThem({Waiting("'a'", {1}), ended}),
              Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                HasSubstr("rank 1 has ended its run; it left 'last'"))));
}

TEST(JudgeTest, NamesTheMostSilentRank) {
  RankView silent = Working("'w'", absl::Seconds(1));
  silent.silent = absl::Seconds(5);
  RankView less = silent;
  less.silent = absl::Seconds(3);
  EXPECT_THAT(JudgeThem({less, silent}),
              Optional(StatusIs(absl::StatusCode::kUnavailable,
                                HasSubstr("rank 1: no sign of life for 2s"))));
  silent.left = less.left = true;
  EXPECT_EQ(JudgeThem({less, silent, Working("")}), std::nullopt);
}

TEST(JudgeTest, NamesWhoDidNotCome) {
  const std::vector<RankView> ranks = {Waiting("'address'", {1}), RankView(), RankView()};
  EXPECT_THAT(JudgeThem(ranks), Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                                  "rank 1, rank 2 of 3 did not come within 10s")));
  EXPECT_EQ(Judge(ranks, absl::Seconds(9), kLimits), std::nullopt);
}

// Of rank `rank` in a collective of nccl[0,1,2] model, which its GPU alone can see.
RankView OnGpu(int64_t rank, std::string_view call, int64_t number) {
  RankView view = Waiting(call, {});
  view.activity.communicator = "nccl[0,1,2] model";
  view.activity.collective = number;
  for (int64_t peer = 0; peer < 3; ++peer) {
    if (peer == rank) continue;
    view.activity.needs.push_back({.peer = GlobalRank(peer), .num_collectives = number});
  }
  view.activity.issued = {{.communicator = "nccl[0,1,2] model", .num_collectives = number}};
  return view;
}

TEST(JudgeTest, SeesThroughTheCountsWhoHasNotIssuedWhatRunsOnGpus) {
  RankView late = Working("'v'");
  late.activity.issued = {{.communicator = "nccl[0,1,2] model", .num_collectives = 6}};
  EXPECT_THAT(JudgeThem({OnGpu(0, "'x'", 7), late, OnGpu(2, "'x'", 7)}),
              Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                "rank 1 lags: it left 'v'; for 3s rank 0 waits in 'x' for rank 1; "
                                "rank 2 waits in 'x' for rank 1")));
  // It has told of nothing: it has not issued it.
  EXPECT_THAT(JudgeThem({OnGpu(0, "'x'", 7), Working("'v'"), OnGpu(2, "'x'", 7)}),
              Optional(StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1 lags"))));
}

TEST(JudgeTest, NamesACallThatAllHaveIssuedAndThatDoesNotEnd) {
  EXPECT_THAT(JudgeThem({OnGpu(0, "'x'", 7), OnGpu(1, "'x'", 7), OnGpu(2, "'x'", 7)}),
              Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                HasSubstr("every member has issued its call"))));
}

TEST(JudgeTest, NamesMembersThatCalledDifferentThings) {
  EXPECT_THAT(JudgeThem({OnGpu(0, "'x'", 7), OnGpu(1, "'y'", 7), OnGpu(2, "'x'", 7)}),
              Optional(StatusIs(absl::StatusCode::kInvalidArgument,
                                "members called different things: rank 0 'x', rank 1 'y'")));
}

TEST(JudgeTest, CountsMessagesByDirection) {
  RankView receiver = Waiting("'receive'", {});
  receiver.activity.communicator = "nccl[0,1] bridge";
  receiver.activity.needs = {{.peer = GlobalRank(1), .num_sends = 3}};
  RankView sender = Working("'step'");
  sender.activity.issued = {
      {.communicator = "nccl[0,1] bridge", .messages = {{.peer = GlobalRank(0), .num_sends = 2}}}};
  EXPECT_THAT(JudgeThem({receiver, sender}),
              Optional(StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("rank 1 lags"))));
  sender.activity.issued[0].messages[0].num_sends = 3;
  EXPECT_THAT(JudgeThem({receiver, sender}), Optional(StatusIs(absl::StatusCode::kDeadlineExceeded,
                                                               HasSubstr("has issued its call"))));
}

}  // namespace
}  // namespace hetero
