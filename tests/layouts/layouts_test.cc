// What is trained does not depend on where it is computed.

#include <algorithm>
#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr int kNumSteps = 20;

struct Ranks {
  std::string name;
  int encoder;
  int language;
  bool colocated = false;
};

void PrintTo(const Ranks& ranks, std::ostream* out) { *out << ranks.name; }

struct Curve {
  std::vector<double> loss;
  std::vector<double> gradient_norm;

  bool operator==(const Curve&) const = default;
};

Curve Train(const Ranks& ranks, int run_ahead = 2) {
  const int world = ranks.colocated ? ranks.language : ranks.encoder + ranks.language;
  proto::RunConfig config = RecipeConfig(
      "fashion_tiny", {absl::StrCat("launch=threads:", world),
                       absl::StrCat("radio_encoder.num_ranks=", ranks.encoder),
                       absl::StrCat("language.num_ranks=", ranks.language),
                       absl::StrCat("language.rank_offset=", ranks.colocated ? 0 : ranks.encoder),
                       absl::StrCat("encoder_run_ahead=", run_ahead),
                       absl::StrCat("train_steps=", kNumSteps), "schedule.decay_steps=600"});
  config.clear_evaluation();
  const RecipeRun run = RunConfigured(config);
  EXPECT_THAT(run.status, IsOk());
  Curve curve;
  for (const StepMetrics& step : run.steps) {
    curve.loss.push_back(step.losses.at(0).sum / step.losses.at(0).count);
    curve.gradient_norm.push_back(step.grad_norm.value());
  }
  EXPECT_EQ(curve.loss.size(), kNumSteps);
  return curve;
}

const Curve& OnOneRank() {
  static const Curve& curve = *new Curve(Train({"one rank", 1, 1, true}));
  return curve;
}

double MaxRelativeDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(a[i] - b[i]) / std::abs(b[i]);
    worst = difference <= worst ? worst : difference;  // keeps a NaN
  }
  return worst;
}

class LayoutTest : public testing::TestWithParam<Ranks> {};

TEST_P(LayoutTest, TrainsLikeOneRank) {
  const Curve curve = Train(GetParam());
  const double loss = MaxRelativeDifference(curve.loss, OnOneRank().loss);
  const double norm = MaxRelativeDifference(curve.gradient_norm, OnOneRank().gradient_norm);
  RecordProperty("loss", absl::StrCat(loss));
  RecordProperty("gradient_norm", absl::StrCat(norm));
  EXPECT_LE(loss, 1e-5);
  EXPECT_LE(norm, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Grids, LayoutTest,
    testing::Values(Ranks{"Encoder1Language1", 1, 1}, Ranks{"Encoder2Language2", 2, 2},
                    Ranks{"Encoder1Language2", 1, 2}, Ranks{"Encoder2Language1", 2, 1},
                    Ranks{"Encoder4Language2", 4, 2}, Ranks{"Colocated2", 2, 2, true}),
    [](const auto& info) { return info.param.name; });

TEST(LayoutsTest, RepeatBitForBitWhateverTheTiming) {
  const Ranks ranks = {"2+2", 2, 2};
  const Curve first = Train(ranks);
  EXPECT_EQ(Train(ranks), first);
  EXPECT_EQ(Train(ranks, /*run_ahead=*/0), first);
}

}  // namespace
}  // namespace hetero
