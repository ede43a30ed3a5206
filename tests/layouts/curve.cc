#include "hetero/tests/layouts/curve.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

double MaxRelativeDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(a[i] - b[i]) / std::abs(b[i]);
    worst = difference <= worst ? worst : difference;  // keeps a NaN
  }
  return worst;
}

}  // namespace

Curve TrainCurve(const proto::RunConfig& config, int num_steps) {
  const RecipeRun run = RunConfigured(config);
  EXPECT_THAT(run.status, ::absl_testing::IsOk());
  Curve curve;
  for (const StepMetrics& step : run.steps) {
    curve.loss.push_back(step.losses.at(0).sum / step.losses.at(0).count);
    curve.gradient_norm.push_back(step.grad_norm.value());
  }
  EXPECT_EQ(std::ssize(curve.loss), num_steps);
  return curve;
}

void ExpectSameTraining(const Curve& curve, const Curve& expected) {
  EXPECT_EQ(curve.loss.size(), expected.loss.size());
  const double loss = MaxRelativeDifference(curve.loss, expected.loss);
  const double norm = MaxRelativeDifference(curve.gradient_norm, expected.gradient_norm);
  testing::Test::RecordProperty("loss", absl::StrCat(loss));
  testing::Test::RecordProperty("gradient_norm", absl::StrCat(norm));
  EXPECT_LE(loss, 1e-5);
  EXPECT_LE(norm, 1e-5);
}

}  // namespace hetero
