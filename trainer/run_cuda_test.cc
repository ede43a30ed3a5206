// Whole runs on a GPU against the same runs on the CPU.

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/run.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

constexpr int kSteps = 20;

// Mean loss of every step, then of the evaluation. `layout`: assignments.
std::vector<double> Losses(std::string_view recipe, std::vector<std::string> layout,
                           std::string_view device, std::string_view precision = "F32") {
  layout.insert(layout.end(),
                {absl::StrCat("device=", device), absl::StrCat("precision=", precision),
                 absl::StrCat("train_steps=", kSteps), "evaluation.num_batches=2"});
  const RecipeRun run = RunConfigured(RecipeConfig(recipe, layout));
  EXPECT_THAT(run.status, IsOk());
  EXPECT_EQ(run.steps.size(), kSteps);
  std::vector<double> losses;
  for (const StepMetrics& step : run.steps) {
    losses.push_back(step.losses.at(0).sum / step.losses.at(0).count);
  }
  if (run.status.ok()) losses.push_back(ResultValue(run.output, "validation_lm_loss"));
  return losses;
}

// The largest difference of two runs, NaN if there is a NaN.
double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double distance = std::abs(a[i] - b[i]);
    if (!(distance <= largest)) largest = distance;
  }
  return largest;
}

struct Case {
  std::string name;
  std::string_view recipe;
  std::vector<std::string> layout;
};

class RunCudaTest : public ::testing::TestWithParam<Case> {};

// Rounding differs in the last bits of f32, and Adam's first steps are the signs of gradients, of
// which those next to zero may flip: a few parts in a million of the loss, far below the bound. A
// run also fails where it takes other memory or other collectives than its dry run said.
TEST_P(RunCudaTest, F32FollowsTheCpuAndRepeatsToTheBit) {
  const Case& c = GetParam();
  const std::vector<double> cpu = Losses(c.recipe, c.layout, "CPU");
  const std::vector<double> gpu = Losses(c.recipe, c.layout, "CUDA");
  EXPECT_LE(Distance(gpu, cpu), 1e-3);
  EXPECT_EQ(Losses(c.recipe, c.layout, "CUDA"), gpu);
  RecordProperty("distance", absl::StrCat(Distance(gpu, cpu)));
}

// Logits of size 1 or less carry 8 bits: of an error of 2^-8 for each, what is left in the mean of
// hundreds of tokens is far below. The runs part slowly.
TEST_P(RunCudaTest, Bf16StaysNearF32AndRepeatsToTheBit) {
  const Case& c = GetParam();
  const std::vector<double> f32 = Losses(c.recipe, c.layout, "CPU");
  const std::vector<double> bf16 = Losses(c.recipe, c.layout, "CUDA", "BF16");
  EXPECT_LE(std::abs(bf16.front() - f32.front()), 5e-3);
  EXPECT_LE(Distance(bf16, f32), 3e-2);
  EXPECT_EQ(Losses(c.recipe, c.layout, "CUDA", "BF16"), bf16);
  RecordProperty("distance", absl::StrCat(Distance(bf16, f32)));
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, RunCudaTest,
    ::testing::Values(
        Case{"OneRankOfText", "mock_tiny", {"launch=threads:1", "language.num_ranks=1"}},
        Case{"OneRankOfBoth", "mock_vlm_tiny", {"launch=threads:1", "language.rank_offset=0"}},
        Case{"TwoRanksThatShare", "mock_vlm_tiny", {}},
        Case{"FourRanksThatShare",
             "mock_vlm_tiny",
             {"launch=threads:4", "radio_encoder.num_ranks=2", "language.num_ranks=2",
              "language.rank_offset=2"}},
        // Experts in turn: with the recipe's seed rounding decides between a token's experts from
        // the second step on, and where devices choose differently the curves part.
        Case{
            "TwoEncoders", "mock_avlm_tiny", {"model.language.experts.force_load_balancing=true"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace hetero
