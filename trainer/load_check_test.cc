#include "hetero/trainer/load_check.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

proto::RunConfig Config(std::vector<std::string> assignments) {
  assignments.push_back("train_steps=2");
  return RecipeConfig("mock_vlm_tiny", assignments);
}

class LoadCheckTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(RunConfigured(Config({"checkpoint.save.folder=whole"})).status, IsOk());
    ASSERT_THAT(
        RunConfigured(Config({"checkpoint.save.folder=frozen", "model.freeze_encoder=true"}))
            .status,
        IsOk());
  }

  absl::StatusOr<LoadCheck> Check(const proto::RunConfig& config) {
    absl::StatusOr<Job> job = MakeJob({.config = config}, BuiltInModels());
    EXPECT_THAT(job, IsOk());
    return CheckLoad(*job, TestFolder(), StopSignals());
  }
};

// What it says before a run is what the run finds, in this layout and in others.
TEST_F(LoadCheckTest, ARunBeginsWhereTheCheckSaysSo) {
  const std::string two_of_each =
      "grids=[{name: \"radio_encoder\" num_ranks: 2 rank_offset: 0 tp: 2},"
      "{name: \"language\" num_ranks: 2 rank_offset: 2 tp: 2}]";
  struct Case {
    std::vector<std::string> assignments;
    bool fits;
  };
  for (const Case& at : std::vector<Case>{
           {{"checkpoint.load.folder=whole"}, true},
           {{"checkpoint.load.folder=whole", two_of_each, "launch=threads:4"}, true},
           {{"checkpoint.load.folder=whole", "model.freeze_encoder=true"}, true},
           {{"checkpoint.load.folder=frozen", "model.freeze_encoder=true"}, true},
           {{"checkpoint.load.folder=frozen"}, false},
           {{"checkpoint.load={folder: \"frozen\" skip_optimizer: true}"}, true},
           {{"checkpoint.load={folder: \"frozen\" finetune: true}", "seed=7"}, true},
           {{"checkpoint.load={folder: \"frozen\" allow_missing: \"mimo.radio_encoder.*\"}"}, true},
           {{"checkpoint.load={folder: \"whole\" allow_missing: \"mimo.radio_encoder.*\"}"}, false},
           {{"checkpoint.load={folder: \"whole\" finetune: true refuse_unused: true}"}, false},
           {{"checkpoint.load={folder: \"whole\" finetune: true modules: \"language\"}"}, true},
           {{"checkpoint.load.folder=whole", "seed=7"}, false},
           {{"checkpoint.load.folder=whole", "model.language.hidden_size=64"}, false},
       }) {
    const proto::RunConfig config = Config(at.assignments);
    const absl::StatusOr<LoadCheck> check = Check(config);
    ASSERT_THAT(check, IsOk()) << config.DebugString();
    EXPECT_EQ(check->fits(), at.fits) << check->ToString() << config.checkpoint().DebugString();
    const absl::Status run = RunConfigured(config).status;
    EXPECT_EQ(run.ok(), at.fits) << run << config.checkpoint().DebugString();
  }
}

TEST_F(LoadCheckTest, EachModuleHasWhatItLacks) {
  const absl::StatusOr<LoadCheck> check = Check(Config({"checkpoint.load.folder=frozen"}));
  ASSERT_THAT(check, IsOk());
  EXPECT_THAT(check->modules, SizeIs(3));
  EXPECT_EQ(check->modules[0].name, "radio_encoder");
  EXPECT_THAT(check->modules[0].missing,
              testing::Contains(AllOf(HasSubstr("radio_model.class_token (ranks 0); nearest"),
                                      HasSubstr("mimo.radio_encoder.optimizer.state.exp_avg."))));
  EXPECT_EQ(check->modules[1].name, "language");
  EXPECT_TRUE(check->modules[1].fits());
  EXPECT_GT(check->modules[1].found, 100);
  // Masters of f32 weights are not asked for a second time, which is no news.
  EXPECT_THAT(check->modules[1].unused, IsEmpty());
}

// Also what the run has no other names of.
TEST_F(LoadCheckTest, WhatNobodyWantsIsItsModules) {
  const absl::StatusOr<LoadCheck> check =
      Check(Config({"checkpoint.load.folder=whole", "model.freeze_encoder=true"}));
  ASSERT_THAT(check, IsOk());
  EXPECT_THAT(check->modules[0].unused,
              testing::Contains(HasSubstr("mimo.radio_encoder.optimizer.state.exp_avg.")));
  EXPECT_THAT(check->modules[1].unused, IsEmpty());
  EXPECT_THAT(check->modules[2].unused, IsEmpty());
  const absl::StatusOr<LoadCheck> language =
      Check(Config({"checkpoint.load={folder: \"whole\" finetune: true modules: \"language\"}"}));
  ASSERT_THAT(language, IsOk());
  EXPECT_THAT(language->ToString(),
              AllOf(HasSubstr("fits this run"), HasSubstr("radio_encoder: 0 tensors found"),
                    HasSubstr("\nof no module: "),
                    HasSubstr("unused: modality_submodules.radio_encoder.")));
}

TEST_F(LoadCheckTest, ADryRunRefusesWhatARunCouldNotLoad) {
  const RecipeRun refused =
      RunConfigured(Config({"checkpoint.load.folder=frozen"}), {.dry_run = true});
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("iter_0000002 does not fit this run")));
  EXPECT_THAT(refused.output, AllOf(HasSubstr("\n  missing: mimo.radio_encoder.optimizer."),
                                    Not(HasSubstr("memory:"))));
  const RecipeRun fits = RunConfigured(Config({"checkpoint.load.folder=whole"}), {.dry_run = true});
  EXPECT_THAT(fits.status, IsOk());
  EXPECT_THAT(fits.output,
              AllOf(HasSubstr("iter_0000002 fits this run"), HasSubstr("memory of 2 ranks")));
}

}  // namespace
}  // namespace hetero
