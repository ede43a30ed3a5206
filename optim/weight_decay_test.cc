#include "hetero/optim/weight_decay.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/violation.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

double Decay(const WeightDecayOptions& options, int64_t samples) {
  return WeightDecaySchedule::Make(options).value().At(samples);
}

TEST(WeightDecayTest, RisesFromItsStartToItsEnd) {
  const double shares[] = {0, 0.146447, 0.5, 0.853553, 1, 1};
  for (int64_t quarter = 0; quarter <= 5; ++quarter) {
    const double linear = std::min(quarter / 4.0, 1.0);
    EXPECT_DOUBLE_EQ(Decay({WeightDecayStyle::kLinear, 0, 0.1, 400}, 100 * quarter), 0.1 * linear);
    EXPECT_NEAR(Decay({WeightDecayStyle::kCosine, 0.2, 0.6, 400}, 100 * quarter),
                0.2 + 0.4 * shares[quarter], 1e-6);
  }
}

TEST(WeightDecayTest, ConstantHasNoLength) {
  for (const int64_t samples : {int64_t{0}, int64_t{7}, int64_t{1} << 60}) {
    EXPECT_EQ(Decay({.start = 0.1, .end = 0.1}, samples), 0.1);
  }
}

TEST(WeightDecayTest, NamesEveryBrokenRuleAndTheNearestValue) {
  EXPECT_THAT(WeightDecaySchedule::Make({WeightDecayStyle::kLinear, 0.3, 0.2, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("start is 0.3, must be at most end 0.2; nearest: 0.2"),
                             HasSubstr("samples is 0, must be at least 1; nearest: 1"))));
  EXPECT_THAT(WeightDecaySchedule::Make({WeightDecayStyle::kConstant, 0.1, 0.2, 0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("start is 0.1, must be equal to end 0.2; nearest: 0.2")));
  EXPECT_THAT(WeightDecaySchedule::Make(
                  {WeightDecayStyle::kCosine, -1, std::numeric_limits<double>::quiet_NaN(), 10}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("start is -1, must be finite and at least 0; nearest: 0"),
                             HasSubstr("end is nan, must be finite and at least 0; nearest: 0"))));
  EXPECT_THAT(WeightDecaySchedule::Make({static_cast<WeightDecayStyle>(99), 0.1, 0.1, 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("style is 99")));
}

TEST(WeightDecayTest, TheEndIsCalledWhatAConfigurationCallsIt) {
  const std::vector<Violation> violations =
      Validate({WeightDecayStyle::kLinear, 0.3, 0.2, 10}, "adamw.weight_decay");
  ASSERT_EQ(violations.size(), 1);
  EXPECT_EQ(violations[0].ToString(),
            "start is 0.3, must be at most adamw.weight_decay 0.2; nearest: 0.2");
}

TEST(WeightDecayTest, AnyNumbersAtAllAreRefusedOrHaveADecay) {
  for (const int64_t samples : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                                int64_t{1}, std::numeric_limits<int64_t>::max()}) {
    for (const double end : {-1.0, 0.0, 1e308, std::numeric_limits<double>::infinity()}) {
      const auto schedule = WeightDecaySchedule::Make({WeightDecayStyle::kCosine, 0, end, samples});
      for (const int64_t n : {int64_t{0}, std::numeric_limits<int64_t>::max()}) {
        EXPECT_TRUE(!schedule.ok() || std::isfinite(schedule->At(n))) << end << " " << samples;
      }
    }
  }
}

}  // namespace
}  // namespace hetero
