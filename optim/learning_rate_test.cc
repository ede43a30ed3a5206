#include "hetero/optim/learning_rate.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::DoubleNear;
using ::testing::HasSubstr;

double Rate(const LearningRateOptions& options, int64_t samples) {
  return LearningRateSchedule::Make(options).value().At(samples);
}

TEST(LearningRateTest, LinearWarmsUpAndDecays) {
  const LearningRateOptions options = {.style = LearningRateStyle::kLinear,
                                       .peak = 0.1,
                                       .minimum = 0.001,
                                       .initial = 0.01,
                                       .warmup_samples = 100,
                                       .decay_samples = 1000};
  EXPECT_DOUBLE_EQ(Rate(options, 0), 0.01);
  EXPECT_DOUBLE_EQ(Rate(options, 50), 0.055);
  EXPECT_DOUBLE_EQ(Rate(options, 100), 0.1);
  EXPECT_NEAR(Rate(options, 500), 0.056, 1e-12);
  EXPECT_NEAR(Rate(options, 1000), 0.001, 1e-12);
  EXPECT_DOUBLE_EQ(Rate(options, 1001), 0.001);
}

TEST(LearningRateTest, CosineOverTenIterations) {
  const LearningRateOptions options = {.style = LearningRateStyle::kCosine,
                                       .peak = 2e-4,
                                       .minimum = 2e-6,
                                       .decay_samples = 10 * 768};
  const double expected[] = {1.951546e-4, 1.810927e-4, 1.591907e-4, 1.315927e-4, 1.010000e-4,
                             7.040732e-5, 4.280926e-5, 2.090732e-5, 6.845405e-6, 2.000000e-6};
  for (int64_t i = 1; i <= 10; ++i) {
    EXPECT_NEAR(Rate(options, i * 768), expected[i - 1], 5e-11) << i;
  }
}

TEST(LearningRateTest, WarmupStableDecayWithSquareRootTail) {
  const LearningRateOptions options = {.style = LearningRateStyle::kWarmupStableDecay,
                                       .peak = 1.2e-3,
                                       .minimum = 1.2e-5,
                                       .warmup_samples = 1024000,
                                       .decay_samples = 121046313,
                                       .tail_samples = 18310547,
                                       .tail = DecayTail::kMinusSqrt};
  EXPECT_NEAR(Rate(options, 768), 9.0e-7, 1e-12);
  EXPECT_NEAR(Rate(options, 512000), 6.0e-4, 1e-12);
  EXPECT_DOUBLE_EQ(Rate(options, 1024000), 1.2e-3);
  EXPECT_DOUBLE_EQ(Rate(options, 102735766), 1.2e-3);
  EXPECT_NEAR(Rate(options, 107313402), 6.06e-4, 1e-8);
  EXPECT_NEAR(Rate(options, 111891039), 3.5996e-4, 1e-8);
  EXPECT_NEAR(Rate(options, 121046313), 1.2e-5, 1e-12);
  EXPECT_DOUBLE_EQ(Rate(options, 122000000), 1.2e-5);
}

TEST(LearningRateTest, TailsAtTheirQuarters) {
  const struct {
    DecayTail tail;
    double remaining[4];
  } cases[] = {{DecayTail::kLinear, {0.75, 0.5, 0.25, 0}},
               {DecayTail::kCosine, {0.853553, 0.5, 0.146447, 0}},
               {DecayTail::kExponential, {0.681793, 0.414214, 0.189207, 0}},
               {DecayTail::kMinusSqrt, {0.5, 0.292893, 0.133975, 0}}};
  for (const auto& c : cases) {
    const LearningRateOptions options = {.style = LearningRateStyle::kWarmupStableDecay,
                                         .peak = 1,
                                         .decay_samples = 1000,
                                         .tail_samples = 400,
                                         .tail = c.tail};
    EXPECT_DOUBLE_EQ(Rate(options, 600), 1);
    for (int64_t quarter = 1; quarter <= 4; ++quarter) {
      EXPECT_THAT(Rate(options, 600 + quarter * 100), DoubleNear(c.remaining[quarter - 1], 1e-6));
    }
  }
}

TEST(LearningRateTest, InverseSquareRootStartsAtThePeakAndStopsAtTheMinimum) {
  LearningRateOptions options = {.style = LearningRateStyle::kInverseSquareRoot,
                                 .peak = 0.4,
                                 .minimum = 0.1,
                                 .warmup_samples = 100,
                                 .decay_samples = 10000};
  EXPECT_DOUBLE_EQ(Rate(options, 100), 0.4);
  EXPECT_DOUBLE_EQ(Rate(options, 400), 0.2);
  EXPECT_DOUBLE_EQ(Rate(options, 2500), 0.1);
  options.warmup_samples = 0;
  EXPECT_DOUBLE_EQ(Rate(options, 0), 0.4);
}

TEST(LearningRateTest, ConstantHasNoEnd) {
  const LearningRateOptions options = {.peak = 0.3, .warmup_samples = 10, .decay_samples = 100};
  EXPECT_DOUBLE_EQ(Rate(options, 5), 0.15);
  EXPECT_DOUBLE_EQ(Rate(options, 1000), 0.3);
}

TEST(LearningRateTest, NamesEveryBrokenRuleAndTheNearestValue) {
  EXPECT_THAT(LearningRateSchedule::Make({.style = LearningRateStyle::kWarmupStableDecay,
                                          .peak = 0.1,
                                          .minimum = 0.2,
                                          .initial = 0.3,
                                          .warmup_samples = 100,
                                          .decay_samples = 100}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("minimum is 0.2, must be at most peak 0.1; nearest: 0.1"),
                             HasSubstr("initial is 0.3, must be at most peak 0.1; nearest: 0.1"),
                             HasSubstr("warmup_samples is 100, must be below decay_samples 100, "
                                       "the end of the decay; nearest: 99"),
                             HasSubstr("tail is not set"))));
  EXPECT_THAT(LearningRateSchedule::Make({.peak = std::numeric_limits<double>::quiet_NaN(),
                                          .decay_samples = 0,
                                          .tail_samples = 3}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("peak is nan"),
                             HasSubstr("decay_samples is 0, must be at least 1; nearest: 1"),
                             HasSubstr("only style WARMUP_STABLE_DECAY"))));
}

TEST(LearningRateTest, AStyleOrTailThatIsNoneIsRefused) {
  EXPECT_THAT(LearningRateSchedule::Make(
                  {.style = static_cast<LearningRateStyle>(99), .peak = 1, .decay_samples = 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("style is 99")));
  EXPECT_THAT(LearningRateSchedule::Make({.style = LearningRateStyle::kWarmupStableDecay,
                                          .peak = 1,
                                          .decay_samples = 10,
                                          .tail_samples = 3,
                                          .tail = static_cast<DecayTail>(99)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tail is none")));
}

TEST(LearningRateTest, LengthsKeepTheirUnit) {
  const std::vector<Violation> violations =
      Validate({.style = LearningRateStyle::kWarmupStableDecay,
                .peak = 1,
                .warmup_samples = 2,
                .decay_samples = 6,
                .tail_samples = 8,
                .tail = DecayTail::kLinear},
               "steps");
  ASSERT_EQ(violations.size(), 1);
  EXPECT_EQ(violations[0].ToString(),
            "tail_steps is 8, must be from 1 to 4, what lies between warm-up and the end of the "
            "decay; nearest: 4");
}

TEST(LearningRateTest, AnyNumbersAtAllAreRefusedOrHaveARate) {
  for (const int64_t length : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                               int64_t{1} << 62, std::numeric_limits<int64_t>::max()}) {
    for (const double rate : {-1.0, 0.0, 1e308, std::numeric_limits<double>::infinity()}) {
      const LearningRateOptions options = {.style = LearningRateStyle::kWarmupStableDecay,
                                           .peak = rate,
                                           .minimum = rate,
                                           .warmup_samples = length,
                                           .decay_samples = length,
                                           .tail_samples = length,
                                           .tail = DecayTail::kLinear};
      const auto schedule = LearningRateSchedule::Make(options);
      EXPECT_TRUE(!schedule.ok() || std::isfinite(schedule->At(length))) << rate << " " << length;
    }
  }
}

}  // namespace
}  // namespace hetero
