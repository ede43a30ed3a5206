// Runs whose steps grow.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "hetero/trainer/testing/run_checkpoint.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// 48 tokens a sample: steps 0 and 1 have 4, steps 2 to 4 have 8, later ones 16.
constexpr char kGrows[] = "batch_size_schedule=0:4 400:8 1200:16";

proto::RunConfig Config(std::vector<std::string> assignments) {
  assignments.insert(assignments.begin(),
                     {"train_steps=8", "schedule={style: CONSTANT peak: 1e-2 minimum: 0}"});
  return RecipeConfig("mock_vlm_tiny", assignments);
}

std::vector<double> Numbers(const RecipeRun& run) {
  std::vector<double> numbers;
  for (const StepMetrics& step : run.steps) {
    numbers.push_back(step.losses.at(0).sum);
    numbers.push_back(step.grad_norm.value());
  }
  return numbers;
}

// Of steps [first, end) of a run from the beginning.
std::vector<double> Numbers(const RecipeRun& run, int64_t first, int64_t end) {
  const std::vector<double> all = Numbers(run);
  return {all.begin() + 2 * first, all.begin() + 2 * end};
}

bool SameTensors(const fs::path& first, const fs::path& second) {
  return CompareCheckpoints(TestFolder() / first, TestFolder() / second).none();
}

TEST(BatchScheduleRunTest, StepsFollowEachOtherWithoutAGapAndEachSizeIsARunOfItsOwn) {
  const RecipeRun whole =
      RunConfigured(Config({kGrows, "checkpoint.save={folder: \"whole\" interval_steps: 3}"}));
  ASSERT_THAT(whole.status, IsOk());
  std::vector<int64_t> sizes;
  int64_t consumed = 0;
  for (const StepMetrics& step : whole.steps) {
    sizes.push_back(step.global_batch_size);
    consumed += step.global_batch_size;
    EXPECT_EQ(step.consumed_samples, consumed);
    EXPECT_EQ(step.losses[0].count * 4,
              whole.steps[0].losses[0].count * static_cast<double>(step.global_batch_size));
  }
  EXPECT_THAT(sizes, ElementsAre(4, 4, 8, 8, 8, 16, 16, 16));
  // Also before steps 2 and 5, which are the first of their sizes.
  for (const int saved : {2, 3, 5, 6, 8}) {
    EXPECT_THAT(whole.output, HasSubstr(absl::StrCat("saved iteration ", saved, ": ")));
  }
  EXPECT_THAT(whole.output, Not(HasSubstr("saved iteration 4: ")));
  EXPECT_THAT(whole.output, HasSubstr("from sample 8 on 8 samples a step: 2 microbatches of 4"));

  // A part of the run is the same run.
  for (const int first : {2, 3, 6}) {
    const std::string folder = absl::StrCat("rest", first);
    const RecipeRun rest = RunConfigured(
        Config({kGrows, absl::StrCat("checkpoint.save.folder=", folder),
                absl::StrCat("checkpoint.load={folder: \"whole\" iteration: ", first, "}")}));
    ASSERT_THAT(rest.status, IsOk());
    EXPECT_EQ(Numbers(rest), Numbers(whole, first, 8)) << first;
    EXPECT_TRUE(SameTensors("whole/iter_0000008", fs::path(folder) / "iter_0000008")) << first;
  }

  const RecipeRun small = RunConfigured(Config({"global_batch_size=4", "train_steps=2"}));
  EXPECT_EQ(Numbers(small), Numbers(whole, 0, 2));
  // 8 samples are one step of 8.
  const RecipeRun middle =
      RunConfigured(Config({"global_batch_size=8", "train_steps=4",
                            "checkpoint.load={folder: \"whole\" iteration: 2}"}));
  ASSERT_THAT(middle.status, IsOk());
  EXPECT_EQ(Numbers(middle), Numbers(whole, 2, 5));
}

// Programs, slots and edges of all sizes in a pipeline whose stages take turns.
TEST(BatchScheduleRunTest, OtherLayoutsTrainOnTheSameSteps) {
  const std::string grows = "batch_size_schedule=0:8 400:16";
  const std::string layers = "model.language.pattern=ME*M";
  const RecipeRun plain = RunConfigured(Config({grows, layers, "train_steps=4"}));
  const RecipeRun interleaved = RunConfigured(
      Config({grows, layers, "train_steps=4", "launch=threads:3", "language.num_ranks=2",
              "language.pp=2", "pipeline_chunks=2", "encoder_run_ahead=2"}));
  ASSERT_THAT(plain.status, IsOk());
  ASSERT_THAT(interleaved.status, IsOk());
  const std::vector<double> expected = Numbers(plain);
  const std::vector<double> found = Numbers(interleaved);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], 1e-4 * std::abs(expected[i]));
  }
}

TEST(BatchScheduleRunTest, ADryRunProvesTheStepsOfEverySize) {
  const RecipeRun run = RunConfigured(Config({kGrows}), {.dry_run = true});
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, AllOf(HasSubstr("4 samples a step: 1 microbatch of 4"),
                                HasSubstr("8 samples a step: 2 microbatches of 4"),
                                HasSubstr("16 samples a step: 4 microbatches of 4"),
                                HasSubstr("the 6 programs of 2 ranks")));
}

}  // namespace
}  // namespace hetero
