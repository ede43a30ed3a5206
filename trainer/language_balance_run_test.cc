// Rows of a step in microbatches by cost: what a run computes with data.balance.language is what it
// computes without.

#include <cmath>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/testing/captioned_images.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr char kFolder[] = "captions";
constexpr char kPacking[] = "data.packing={max_patches: 384 max_images: 6 buffer_size: 16}";
constexpr char kBalance[] = "data.balance={language: true}";
constexpr int kNumSteps = 3;

class LanguageBalanceRunTest : public ::testing::Test {
 protected:
  // Rows of two to five samples, 8 of them in a step and some 14 in an epoch.
  void SetUp() override {
    std::vector<CaptionedImage> samples;
    for (int i = 0; i < 48; ++i) {
      samples.push_back({{.height = 32, .width = 24 + 8 * (i % 2)},
                         std::string(1 + 7 * i % 23, static_cast<char>('a' + i % 26))});
    }
    ASSERT_THAT(WriteCaptionedImages(TestFolder() / kFolder, samples), IsOk());
  }

  RecipeRun Train(const std::vector<std::string>& more) {
    std::vector<std::string> all = {CaptionedImagesSetting(kFolder), "sequence_length=96",
                                    "micro_batch_size=2", "global_batch_size=8",
                                    absl::StrCat("train_steps=", kNumSteps)};
    all.insert(all.end(), more.begin(), more.end());
    return RunConfigured(RecipeConfig("mock_vlm_tiny", all));
  }

  std::vector<StepMetrics> StepsOf(const std::vector<std::string>& more) {
    RecipeRun run = Train(more);
    EXPECT_THAT(run.status, IsOk());
    EXPECT_EQ(run.steps.size(), kNumSteps);
    return std::move(run.steps);
  }
};

void ExpectClose(const std::vector<StepMetrics>& actual, const std::vector<StepMetrics>& expected) {
  for (size_t step = 0; step < expected.size(); ++step) {
    for (size_t i = 0; i < expected[step].losses.size(); ++i) {
      const LossSum& loss = expected[step].losses[i];
      EXPECT_EQ(actual.at(step).losses.at(i).count, loss.count) << loss.name << " at " << step;
      EXPECT_NEAR(actual[step].losses[i].sum, loss.sum, 1e-5 * std::abs(loss.sum))
          << loss.name << " at " << step;
    }
    EXPECT_NEAR(*actual[step].grad_norm / *expected[step].grad_norm, 1, 1e-4) << step;
  }
}

std::vector<double> GradNorms(const std::vector<StepMetrics>& steps) {
  std::vector<double> norms;
  for (const StepMetrics& step : steps) norms.push_back(step.grad_norm.value());
  return norms;
}

TEST_F(LanguageBalanceRunTest, TrainsToRoundingInEveryLayout) {
  const std::vector<StepMetrics> plain = StepsOf({kPacking});
  const std::vector<StepMetrics> by_cost = StepsOf({kPacking, kBalance});
  ExpectClose(by_cost, plain);
  EXPECT_NE(GradNorms(by_cost), GradNorms(plain)) << "no row has moved";
  const std::vector<StepMetrics> again = StepsOf({kPacking, kBalance});
  const std::vector<StepMetrics> on_lanes =
      StepsOf({kPacking, kBalance, "launch=threads:4", "micro_batch_size=1",
               "radio_encoder.num_ranks=2", "language.rank_offset=2", "language.num_ranks=2"});
  ExpectClose(on_lanes, plain);
  for (int step = 0; step < kNumSteps; ++step) {
    EXPECT_EQ(again[step].losses[0].sum, by_cost[step].losses[0].sum);
    EXPECT_EQ(again[step].grad_norm, by_cost[step].grad_norm);
  }
}

TEST_F(LanguageBalanceRunTest, SaysSoAndIsRefusedWhereItChangesNothing) {
  EXPECT_THAT(Train({kPacking, kBalance}).output, HasSubstr("full, microbatches by cost"));
  EXPECT_THAT(Train({kBalance}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.balance.language is true, the rows of a step all cost the "
                                 "same where each is one sample: data.packing is not set; "
                                 "nearest: false")));
  EXPECT_THAT(Train({kPacking, kBalance, "micro_batch_size=8"}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.balance.language is true, a step of 8 rows has one "
                                 "microbatch, which has all of them; nearest: false")));
}

}  // namespace
}  // namespace hetero
