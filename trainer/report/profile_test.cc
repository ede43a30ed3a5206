#include "hetero/trainer/report/profile.h"

#include <array>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;

TEST(ProfileTest, ASampledStepOfAGpuIsMeasuredAgainstItsOwnTime) {
  std::array<RankProfile, 2> ranks;
  for (RankProfile& rank : ranks) {
    rank.num_steps = 2;
    rank.time = absl::Milliseconds(40);
    rank.operations["gemm"] = {
        .calls = 1, .flops = 6e9, .bytes = 3e9, .time = absl::Milliseconds(30)};
    rank.operations["fill"] = {.calls = 1, .bytes = 1e6};
  }
  const std::string text = DescribeProfile(ranks);
  EXPECT_THAT(text, HasSubstr("device time of 2 sampled steps\n"));
  // 30 ms a rank in two steps, 6e9 operations in 30 ms.
  EXPECT_THAT(text, HasSubstr("gemm                                30.000  75.0%       1.0     "
                              "200.0     100.0\n"));
  // No rate where there is no time.
  EXPECT_THAT(text, HasSubstr("fill                                 0.000   0.0%       1.0\n"));
  EXPECT_THAT(text, HasSubstr("outside operations                  10.000  25.0%\n"));
  EXPECT_THAT(text, HasSubstr("all ranks                           40.000 100.0%"));
  EXPECT_THAT(text, Not(HasSubstr("waiting")));
  EXPECT_THAT(text, Not(HasSubstr("beside")));
  EXPECT_THAT(text, Not(HasSubstr("not timed")));
  // Rank 0 hides half of what it communicates.
  ranks[0].operations["wait for gradients"] = {.calls = 1, .time = absl::Milliseconds(2)};
  ranks[0].beside["reduce_scatter"] = {.calls = 2, .bytes = 8e9, .time = absl::Milliseconds(4)};
  EXPECT_THAT(DescribeProfile(ranks),
              AllOf(HasSubstr("\nwait for gradients                   1.000   2.5%       0.5"),
                    HasSubstr("\nall ranks                           40.000 100.0%\n"
                              "beside, all ranks                  ms/step  share     calls   "
                              "GFLOP/s      GB/s\n"
                              "reduce_scatter                       2.000   5.0%       1.0"),
                    EndsWith("2000.0")));
  ranks[1].num_untimed = 7;
  EXPECT_THAT(DescribeProfile(ranks), HasSubstr("\n7 operations not timed"));
  ranks[0].num_steps = ranks[1].num_steps = ranks[1].num_untimed = 1;
  EXPECT_THAT(DescribeProfile(ranks), AllOf(HasSubstr("device time of 1 sampled step\n"),
                                            HasSubstr("\n1 operation not timed")));
}

TEST(ProfileTest, ARunWithoutASampledStepSaysSo) {
  std::array<RankProfile, 1> ranks;
  EXPECT_THAT(DescribeProfile(ranks), HasSubstr("before a step was sampled"));
  ranks[0].thread_time = absl::ZeroDuration();
  EXPECT_THAT(DescribeProfile(ranks), HasSubstr("before a step was run"));
}

void Work(absl::Duration time) {
  for (const absl::Duration start = ThreadTime(); ThreadTime() - start < time;) {
  }
}

TEST(TrainingAccountTest, HasWhatHappensBetweenStartAndStopAlone) {
  CallLedger calls;
  const auto call = [&](std::string_view name) {
    const absl::Duration start = ThreadTime();
    Work(absl::Milliseconds(5));
    calls.AddOperation(name, 2, 3, ThreadTime() - start);
  };
  TrainingAccount account;
  call("init");
  call("gemm");
  for (int i = 0; i < 2; ++i) {
    account.Start(calls);
    call("gemm");
    account.Stop(calls);
    call("gemm");
    call("evaluation");
  }
  const RankProfile profile = account.Profile(2);
  ASSERT_THAT(profile.operations, ElementsAre(Pair("gemm", ::testing::_)));
  const OperationTotals& gemm = profile.operations.at("gemm");
  EXPECT_EQ(gemm.calls, 2);
  EXPECT_EQ(gemm.flops, 4);
  EXPECT_EQ(gemm.bytes, 6);
  EXPECT_LE(gemm.time, *profile.thread_time);
  EXPECT_LE(*profile.thread_time, 2 * gemm.time);
}

}  // namespace
}  // namespace hetero
