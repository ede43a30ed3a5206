#include "hetero/trainer/report/metrics.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;

StepMetrics Step(int64_t iteration, double loss_sum, double loss_count) {
  return {.iteration = iteration, .losses = {{"lm loss", loss_sum, loss_count}}};
}

TEST(MetricsIntervalTest, SkippedIterationsCountTimeButNoLoss) {
  MetricsInterval interval;
  interval.Add(Step(1, 8, 2), absl::Seconds(1));
  for (const double loss : std::vector<double>{NAN, INFINITY, 1e9}) {
    StepMetrics skipped = Step(2, loss, 1);
    skipped.skipped = true;
    interval.Add(skipped, absl::Seconds(2));
  }
  interval.Add(Step(5, 0, 0), absl::Seconds(3));  // no loss tokens
  const IntervalAverages averages = interval.averages();
  EXPECT_DOUBLE_EQ(averages.seconds_per_iteration, 2);
  EXPECT_EQ(averages.skipped_iterations, 3);
  EXPECT_EQ(averages.nan_iterations, 2);
  EXPECT_THAT(averages.losses, ElementsAre(NamedValue{"lm loss", 4}));

  interval.Reset();
  interval.Add(Step(6, 3, 1), absl::Seconds(1));
  EXPECT_THAT(interval.averages().losses, ElementsAre(NamedValue{"lm loss", 3}));
}

TEST(MetricsIntervalTest, WhereNothingWasUpdatedTheLossIsThatOfTheSkippedIterations) {
  MetricsInterval interval;
  for (const double loss : {4.0, 8.0}) {
    StepMetrics skipped = Step(1, loss, 1);
    skipped.skipped = true;
    interval.Add(skipped, absl::Seconds(1));
  }
  EXPECT_THAT(interval.averages().losses, ElementsAre(NamedValue{"lm loss", 6}));
  interval.Add(Step(2, 3, 1), absl::Seconds(1));
  EXPECT_THAT(interval.averages().losses, ElementsAre(NamedValue{"lm loss", 3}));
}

TEST(LayerSumsTest, AreOfTheMetricsOfLayers) {
  const std::vector<Metric> metrics = {
      {.name = "lm loss", .numerator = 0, .denominator = 1, .in_training = true},
      {.name = "moe/loss_layer_3",
       .numerator = 2,
       .denominator = 1,
       .in_training = true,
       .of_layer = true},
      {.name = "rounds", .numerator = 1, .denominator = 0, .in_training = true, .only_above = 1}};
  const std::vector<double> sums = {8, 2, 6};
  const std::vector<LossSum> layers = LayerSums(metrics, sums);
  ASSERT_EQ(layers.size(), 1);
  EXPECT_EQ(layers[0].name, "moe/loss_layer_3");
  EXPECT_EQ(layers[0].sum / layers[0].count, 3);
  const std::vector<LossSum> others = TrainingSums(metrics, sums);
  ASSERT_EQ(others.size(), 2);
  EXPECT_EQ(others[0].name, "lm loss");
  EXPECT_EQ(others[1].name, "rounds");
}

TEST(WorthTellingTest, AboveWhatTheMetricSays) {
  const std::vector<Metric> metrics = {{.name = "loss"}, {.name = "rounds", .only_above = 1}};
  const auto told = [&](double rounds) {
    return WorthTelling(metrics, {{"loss", 0}, {"rounds", rounds}});
  };
  EXPECT_THAT(told(1), ElementsAre(NamedValue{"loss", 0}));
  EXPECT_THAT(told(1.25), ElementsAre(NamedValue{"loss", 0}, NamedValue{"rounds", 1.25}));
}

}  // namespace
}  // namespace hetero
