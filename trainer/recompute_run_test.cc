// Runs whose stages keep less for a backward: the same steps in less memory, as much less as the
// dry run says, or the run would fail.

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kRecompute = "selective_recompute=[\"radio_encoder\", \"language\"]";

RecipeRun Train(std::vector<std::string> assignments, const RecipeRunOptions& options = {}) {
  assignments.insert(assignments.begin(), {"train_steps=3"});
  return RunConfigured(RecipeConfig("mock_vlm_tiny", assignments), options);
}

TEST(RecomputeRunTest, StepsAreTheSameBits) {
  const std::vector<std::string> layouts[] = {
      {"launch=threads:2"},
      {"launch=threads:3", "language.num_ranks=2", "language.ep=2"},
      {"launch=threads:4", "radio_encoder.num_ranks=2", "radio_encoder.tp=2",
       "language.num_ranks=2", "language.rank_offset=2", "language.tp=2"},
      {"launch=threads:3", "language.num_ranks=2", "language.pp=2",
       "model.language.pattern=\"ME|M*E\""}};
  for (std::vector<std::string> layout : layouts) {
    SCOPED_TRACE(layout.back());
    const RecipeRun keeping = Train(layout);
    ASSERT_THAT(keeping.status, IsOk());
    layout.push_back(kRecompute);
    const RecipeRun recomputing = Train(layout);
    ASSERT_THAT(recomputing.status, IsOk());
    ASSERT_EQ(recomputing.steps.size(), keeping.steps.size());
    for (size_t i = 0; i < keeping.steps.size(); ++i) {
      const StepMetrics &step = recomputing.steps[i], &expected = keeping.steps[i];
      ASSERT_EQ(step.losses.size(), expected.losses.size());
      for (size_t k = 0; k < step.losses.size(); ++k) {
        EXPECT_EQ(step.losses[k].sum, expected.losses[k].sum) << "step " << i;
      }
      EXPECT_EQ(step.grad_norm, expected.grad_norm) << "step " << i;
    }
  }
}

TEST(RecomputeRunTest, TheDryRunTellsWhatItSavesAndCosts) {
  const RecipeRun run = Train({kRecompute}, {.dry_run = true});
  ASSERT_THAT(run.status, IsOk());
  for (const char* rank : {"rank 0 \\(radio_encoder.0\\)", "rank 1 \\(language.0\\)"}) {
    EXPECT_THAT(
        run.output,
        ContainsRegex(std::string(rank) +
                      "[^r]+memory:[^\n]+\n(    [^\n]+\n)+  selective recompute: [0-9.]+ MiB "
                      "less memory, [1-9][0-9.]+ %, for 0\\.[0-9]+ GB more traffic and "
                      "[0-9.]+ MFLOP more a step\n"));
  }
  EXPECT_THAT(Train({}, {.dry_run = true}).output, Not(HasSubstr("selective recompute")));
}

}  // namespace
}  // namespace hetero
