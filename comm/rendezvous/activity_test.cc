#include "hetero/comm/rendezvous/activity.h"

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::internal {
namespace {

using ::absl_testing::IsOkAndHolds;
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

TEST(ActivityTest, SurvivesItsWay) {
  const RankActivity activity = {.progress = 7,
                                 .call = "'x' on processes[0,3] model",
                                 .in_call = true,
                                 .waits_for = {GlobalRank(0), GlobalRank(3)}};
  EXPECT_THAT(DecodeActivity(EncodeActivity(activity)), IsOkAndHolds(activity));
  EXPECT_THAT(DecodeActivity(std::vector<std::string>{"7", "", "1", "0,x"}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace hetero::internal
