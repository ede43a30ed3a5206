#include "hetero/comm/rendezvous/activity.h"

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;

TEST(ActivityTest, SurvivesItsWay) {
  const RankActivity activity = {
      .progress = 7,
      .call = "'x' on nccl[0,3] model",
      .in_call = true,
      .waits_for = {GlobalRank(0), GlobalRank(3)},
      .communicator = "nccl[0,3] model",
      .collective = 12,
      .needs = {{.peer = GlobalRank(3), .num_collectives = 12},
                {.peer = GlobalRank(4), .num_sends = 1, .num_receives = 2}},
      .issued = {{.communicator = "nccl[0,3] model",
                  .num_collectives = 12,
                  .messages = {{.peer = GlobalRank(3), .num_sends = 4, .num_receives = 5}}}}};
  EXPECT_THAT(DecodeActivity(EncodeActivity(activity)), IsOkAndHolds(activity));
  EXPECT_THAT(DecodeActivity(EncodeActivity({})), IsOkAndHolds(RankActivity()));
}

TEST(ActivityTest, TakesWhatItCannotReadForNothing) {
  EXPECT_THAT(DecodeActivity("7"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(DecodeActivity("{"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(DecodeActivity(R"({"progress": "x", "waits_for": [1, "y"], "issued": [3]})"),
              IsOkAndHolds(RankActivity{.waits_for = {GlobalRank(1)}, .issued = {IssuedCalls()}}));
}

}  // namespace
}  // namespace hetero
