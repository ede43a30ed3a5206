#include "hetero/trainer/report/step_tally.h"

#include <cmath>
#include <limits>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/exit_code.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(StepTallyTest, AStepThatUpdatesEndsARow) {
  StepTally tally;
  tally.Add(StepOutcome::kNonFinite, 1);
  tally.Add(StepOutcome::kNoTokens, 0);
  EXPECT_EQ(tally.skipped_in_a_row(), 2);
  EXPECT_EQ(tally.not_finite_in_a_row(), 1);
  tally.Add(StepOutcome::kApplied, 1);
  EXPECT_EQ(tally.not_finite_in_a_row(), 0);
  EXPECT_EQ(tally.skipped_in_a_row(), 0);
  EXPECT_EQ(tally.num_skipped(), 2);
  EXPECT_EQ(DescribeSkipped(tally), "");
  EXPECT_THAT(JudgeRun(tally, 3.0), IsOk());
}

TEST(StepTallyTest, ALossThatIsNotFiniteCountsWithoutASkip) {
  for (const double loss : {std::nan(""), kInfinity}) {
    StepTally tally;
    tally.Add(StepOutcome::kApplied, 1);
    tally.Add(StepOutcome::kApplied, loss);
    EXPECT_EQ(tally.not_finite_in_a_row(), 1);
    EXPECT_EQ(tally.skipped_in_a_row(), 0);
    EXPECT_EQ(ExitCodeFor(JudgeRun(tally, std::nullopt)), ExitCode::kDiverged);
  }
}

TEST(StepTallyTest, SaysWhichStepsWereSkippedAndWhy) {
  StepTally tally;
  tally.Add(StepOutcome::kNonFinite, 1);
  tally.Add(StepOutcome::kNonFinite, 1);
  EXPECT_EQ(DescribeSkipped(tally), "all 2 steps were skipped: a gradient was infinite or NaN");
  tally.Add(StepOutcome::kApplied, 1);
  tally.Add(StepOutcome::kNonFinite, kInfinity);
  EXPECT_EQ(DescribeSkipped(tally), "the last step was skipped: a gradient was infinite or NaN");
  EXPECT_EQ(tally.non_finite_parameter(), "");
  EXPECT_THAT(JudgeRun(tally, std::nullopt),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("NaN in 1 step, up to the last of 4;")));
  tally.Add(StepOutcome::kNoTokens, 0);
  EXPECT_EQ(DescribeSkipped(tally),
            "the last 2 of 5 steps were skipped: a gradient was infinite or NaN, or no token had a "
            "loss");
}

TEST(StepTallyTest, NamesTheParameterWithWhichARowBegan) {
  StepTally tally;
  tally.Add(StepOutcome::kNonFinite, 1, "language embedding");
  tally.Add(StepOutcome::kApplied, 1);
  tally.Add(StepOutcome::kNonFinite, 1, "radio_encoder projector");
  tally.Add(StepOutcome::kNonFinite, 1, "language head");
  EXPECT_EQ(DescribeSkipped(tally),
            "the last 2 of 4 steps were skipped: a gradient was infinite or NaN (first of "
            "radio_encoder projector)");
  EXPECT_THAT(JudgeRun(tally, std::nullopt),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("up to the last of 4 (first of radio_encoder projector);")));
}

TEST(StepTallyTest, TokensWithoutALossInEveryStepAreNoDivergence) {
  StepTally tally;
  EXPECT_THAT(JudgeRun(tally, std::nullopt), IsOk());  // no step was asked for
  tally.Add(StepOutcome::kNoTokens, 0);
  tally.Add(StepOutcome::kNoTokens, 0);
  EXPECT_EQ(DescribeSkipped(tally), "all 2 steps were skipped: no token had a loss");
  EXPECT_EQ(ExitCodeFor(JudgeRun(tally, std::nullopt)), ExitCode::kConfig);
}

TEST(StepTallyTest, AValidationLossThatIsNotFiniteIsDivergence) {
  StepTally tally;
  tally.Add(StepOutcome::kApplied, 1);
  EXPECT_EQ(ExitCodeFor(JudgeRun(tally, std::nan(""))), ExitCode::kDiverged);
}

}  // namespace
}  // namespace hetero
