#include "hetero/trainer/profile.h"

#include <array>
#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(ProfileTest, ASampledStepOfAGpuIsMeasuredAgainstItsOwnTime) {
  std::array<RankProfile, 2> ranks;
  for (RankProfile& rank : ranks) {
    rank.num_steps = 2;
    rank.time = absl::Milliseconds(40);
    rank.calls.AddOperation("gemm", 6e9, 3e9, absl::Milliseconds(30));
    rank.calls.AddOperation("fill", 0, 1e6, absl::ZeroDuration());
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
  EXPECT_THAT(text, Not(HasSubstr("not timed")));
  ranks[1].num_untimed = 7;
  EXPECT_THAT(DescribeProfile(ranks), HasSubstr("\n7 operations were not timed"));
}

TEST(ProfileTest, ARunWithoutASampledStepSaysSo) {
  const std::array<RankProfile, 1> ranks;
  EXPECT_THAT(DescribeProfile(ranks), HasSubstr("before a step was sampled"));
}

}  // namespace
}  // namespace hetero
