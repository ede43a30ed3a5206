// The lines that scripts and people read, character by character.

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/report/metrics.h"

namespace hetero {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixMicros(1700000000'012345);  // 2023-11-14 22:13:20 UTC

StepMetrics Step(int64_t iteration, double loss_sum, double loss_count) {
  StepMetrics step{.iteration = iteration,
                   .consumed_samples = iteration * 64,
                   .global_batch_size = 64,
                   .learning_rate = 1.59e-4,
                   .grad_norm = 3.389};
  step.losses.push_back({"lm loss", loss_sum, loss_count});
  return step;
}

TrainingLineContext Context() {
  return {.now = kNow, .zone = absl::UTCTimeZone(), .num_iterations = 600};
}

TEST(TrainingLineTest, AveragesTwoIterations) {
  MetricsInterval interval;
  interval.Add(Step(1, 7 + 5, 3 + 2), absl::Milliseconds(100));
  const StepMetrics last = Step(2, 30, 10);
  interval.Add(last, absl::Milliseconds(50));
  EXPECT_EQ(TrainingLine(Context(), last, interval.averages()),
            " [2023-11-14 22:13:20.012345] iteration        2/     600 | consumed samples:"
            "          128 | elapsed time per iteration (ms): 75.0 | learning rate: 1.590000E-04 |"
            " global batch size:    64 | lm loss: 2.800000E+00 | loss scale: 1.0 |"
            " grad norm: 3.389 | number of skipped iterations:   0 | number of nan iterations:"
            "   0 |");
}

TEST(TrainingLineTest, ShowsThroughputWhereItIsCounted) {
  MetricsInterval interval;
  StepMetrics step = Step(2, 30, 10);
  step.tokens = 32768;
  step.flops = {{"radio_encoder", 20e12}, {"language", 100e12}};
  interval.Add(step, absl::Milliseconds(500));
  const IntervalAverages averages = interval.averages();
  TrainingLineContext context = Context();
  context.throughput = ThroughputOf(averages, "language", 1, 2);
  EXPECT_THAT(TrainingLine(context, step, averages),
              HasSubstr(" elapsed time per iteration (ms): 500.0 | throughput per GPU"
                        " (TFLOP/s/GPU): 200.0 | of all GPUs: 120.0 | tokens per second per GPU:"
                        " 32768 | learning rate:"));
  EXPECT_EQ(ThroughputOf({.seconds_per_iteration = 1}, "language", 1, 2), std::nullopt);
}

TEST(TrainingLineTest, ShowsEveryLoss) {
  MetricsInterval interval;
  StepMetrics last = Step(40, 12.19014, 1);
  last.losses.push_back({"seq_load_balancing_loss", 1.0625, 1});
  interval.Add(last, absl::Milliseconds(6200));
  EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
              HasSubstr("| lm loss: 1.219014E+01 | seq_load_balancing_loss: 1.062500E+00 |"));
}

TEST(TrainingLineTest, CountsZerosOfTheGradientBehindItsNorm) {
  MetricsInterval interval;
  StepMetrics last = Step(1, 5, 10);
  last.num_zeros = 17;
  last.params_norm = 8.25;
  interval.Add(last, absl::Milliseconds(10));
  EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
              HasSubstr("| grad norm: 3.389 | num zeros: 17 | params norm: 8.250 | number of"));
}

TEST(TrainingLineTest, NamesModulesWithRatesOfTheirOwn) {
  MetricsInterval interval;
  StepMetrics last = Step(1, 5, 10);
  last.module_rates.push_back({"radio_encoder", 1e-5});
  interval.Add(last, absl::Milliseconds(10));
  EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
              HasSubstr("| learning rate: 1.590000E-04 | radio_encoder learning rate: "
                        "1.000000E-05 | global batch size:"));
}

TEST(TrainingLineTest, LeavesOutWhatThereIsNot) {
  MetricsInterval interval;
  StepMetrics last = Step(1, -0.5, 1);  // a negative average is "absent"
  last.learning_rate.reset();
  last.grad_norm.reset();
  interval.Add(last, absl::Milliseconds(10));
  EXPECT_EQ(TrainingLine(Context(), last, interval.averages()),
            " [2023-11-14 22:13:20.012345] iteration        1/     600 | consumed samples:"
            "           64 | elapsed time per iteration (ms): 10.0 | global batch size:    64 |"
            " loss scale: 1.0 | number of skipped iterations:   0 | number of nan iterations:"
            "   0 |");
}

// A NaN of either sign: what 0 / 0 gives has its sign bit set.
const double kNaNs[] = {std::nan(""), -std::nan("")};

TEST(TrainingLineTest, NotANumberReadsNan) {
  for (const double nan : kNaNs) {
    MetricsInterval interval;
    StepMetrics last = Step(1, nan, 3);
    last.skipped = true;
    last.grad_norm = nan;
    interval.Add(last, absl::Milliseconds(10));
    EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
                HasSubstr("| lm loss: nan | loss scale: 1.0 | grad norm: nan | number of skipped "
                          "iterations:   1 | number of nan iterations:   1 |"));
    last.grad_norm = std::numeric_limits<double>::infinity();
    EXPECT_THAT(TrainingLine(Context(), last, interval.averages()),
                HasSubstr("| grad norm: inf |"));
  }
}

TEST(ValidationBlockTest, NotANumberReadsNan) {
  for (const double nan : kNaNs) {
    EXPECT_THAT(ValidationBlock("iteration 1", std::vector<NamedValue>{{"lm loss", nan}}),
                HasSubstr("| lm loss value: nan | lm loss PPL: nan |"));
    EXPECT_EQ(ResultLine(1, absl::Seconds(1), std::vector<NamedValue>{{"lm loss", nan}}),
              "RESULT steps=1 seconds=1.000 lm_loss=nan");
  }
  EXPECT_THAT(ValidationBlock(
                  "iteration 1",
                  std::vector<NamedValue>{{"lm loss", std::numeric_limits<double>::infinity()}}),
              HasSubstr("| lm loss value: inf | lm loss PPL: inf |"));
}

TEST(ValidationBlockTest, SaysThatNothingHadALoss) {
  EXPECT_THAT(ValidationBlock("iteration 1", {}),
              HasSubstr("\n validation loss at iteration 1 | no token had a loss | \n"));
}

TEST(ValidationBlockTest, FramesLossAndPerplexity) {
  const std::string line =
      " validation loss at iteration 200 | lm loss value: 2.000000E+00 | "
      "lm loss PPL: 7.389056E+00 | caption accuracy value: 9.125000E-01 | ";
  const std::string dashes(line.size() + 1, '-');
  EXPECT_EQ(ValidationBlock("iteration 200",
                            std::vector<NamedValue>{{"lm loss", 2}, {"caption accuracy", 0.9125}}),
            dashes + "\n" + line + "\n" + dashes);
  EXPECT_THAT(ValidationBlock("iteration 1", std::vector<NamedValue>{{"lm loss", 1000}}),
              HasSubstr("lm loss PPL: 4.851652E+08 |"));
}

TEST(ResultLineTest, NamesAreIdentifiers) {
  EXPECT_EQ(ResultLine(600, absl::Milliseconds(95125),
                       std::vector<NamedValue>{{"lm loss", 0.03125}, {"caption accuracy", 1}}),
            "RESULT steps=600 seconds=95.125 lm_loss=0.03125 caption_accuracy=1");
}

TEST(ProgressLineTest, ShowsRateAndTimeLeft) {
  const ProgressState state{
      .what = "train", .done = 150, .total = 600, .start = kNow, .detail = "lm loss 0.43"};
  EXPECT_EQ(ProgressLine(state, kNow + absl::Seconds(10), 200),
            "train 150/600 [=====>              ]  25% | lm loss 0.43 | 15/s | ETA 30s");
  EXPECT_EQ(ProgressLine(state, kNow, 200),
            "train 150/600 [=====>              ]  25% | lm loss 0.43");
}

TEST(ProgressLineTest, NeverWiderThanAsked) {
  ProgressState state{.what = "prepare", .total = 70000, .start = kNow, .detail = "train shard 3"};
  for (const int64_t done : {0, 1, 35000, 69999, 70000}) {
    state.done = done;
    for (int columns = 0; columns < 120; ++columns) {
      EXPECT_LE(ProgressLine(state, kNow + absl::Seconds(7), columns).size(), columns);
    }
  }
  state.done = 35000;
  EXPECT_EQ(ProgressLine(state, kNow + absl::Hours(30), 58),
            "prepare 35000/70000  50% | train shard 3 | 0.324/s");
}

}  // namespace
}  // namespace hetero
