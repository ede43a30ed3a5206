// Runs that take a part of a checkpoint, or are other runs than the one that saved it.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/difference.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "hetero/trainer/testing/run_checkpoint.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kNumSteps = 8;

// The first update from weights alone is that of a new optimizer, not of the initial weights.
TEST(LoadRunTest, FinetuningBeginsAnewWithTheWeights) {
  ASSERT_THAT(RunConfigured(EightSteps({"checkpoint.save.folder=trained"})).status, IsOk());
  const RecipeRun tuned = RunConfigured(EightSteps(
      {"checkpoint.load={folder: \"trained\" finetune: true}", "seed=99",
       "schedule={style: CONSTANT peak: 1e-30 minimum: 0}", "checkpoint.save.folder=tuned"}));
  ASSERT_THAT(tuned.status, IsOk());
  EXPECT_EQ(tuned.steps.size(), kNumSteps);
  EXPECT_THAT(tuned.output, HasSubstr("begins with the weights of "));
  // Nothing of the weights has changed but the experts' biases; moments have.
  for (const TensorDifference& difference :
       CompareCheckpoints(CheckpointIn("trained", 8), CheckpointIn("tuned", 8)).different) {
    EXPECT_TRUE(difference.key.find("exp_avg") != std::string::npos ||
                difference.key.find("expert_bias") != std::string::npos)
        << difference.ToString();
  }
}

// Without our manifest a checkpoint is one of others.
TEST(LoadRunTest, WeightsOfOneModuleOfAForeignCheckpointAreTaken) {
  ASSERT_THAT(RunConfigured(EightSteps({"checkpoint.save.folder=foreign"})).status, IsOk());
  MakeForeign(CheckpointIn("foreign", 8));
  const std::string load =
      "checkpoint.load={folder: \"foreign\" finetune: true modules: \"radio_encoder\"";
  EXPECT_THAT(RunConfigured(EightSteps({absl::StrCat(load, "}")})).status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("foreign/iter_0000008")));
  const RecipeRun run = RunConfigured(
      EightSteps({absl::StrCat(load, " foreign: true}"), "checkpoint.save.folder=taken",
                  "schedule={style: CONSTANT peak: 1e-30 minimum: 0}"}));
  ASSERT_THAT(run.status, IsOk());
  bool language_differs = false;
  for (const TensorDifference& difference :
       CompareCheckpoints(CheckpointIn("foreign", 8), CheckpointIn("taken", 8)).different) {
    language_differs |= difference.key.starts_with("language_model.");
    EXPECT_FALSE(difference.key.starts_with("modality_submodules.")) << difference.ToString();
  }
  EXPECT_TRUE(language_differs);
}

// A final norm that is stored is one that the model should have.
TEST(LoadRunTest, WeightsThatTheModelHasNoPlaceForAreTold) {
  const std::string without = "model.encoder.final_norm=false";
  ASSERT_THAT(RunConfigured(EightSteps({"checkpoint.save.folder=normed"})).status, IsOk());
  EXPECT_THAT(RunConfigured(EightSteps({"checkpoint.load.folder=normed", without})).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.encoder.final_norm is false, the checkpoint has true")));
  MakeForeign(CheckpointIn("normed", 8));
  const std::string load = "checkpoint.load={folder: \"normed\" foreign: true finetune: true";
  const RecipeRun run = RunConfigured(EightSteps({absl::StrCat(load, "}"), without}));
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, AllOf(HasSubstr("2 weights of the checkpoint, such as "),
                                HasSubstr("final_layernorm.weight, have no place in this model")));
  EXPECT_THAT(RunConfigured(EightSteps({absl::StrCat(load, "}")})).output,
              Not(HasSubstr("have no place")));
  EXPECT_THAT(
      RunConfigured(EightSteps({absl::StrCat(load, " refuse_unused: true}"), without})).status,
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("final_layernorm.weight")));
}

// What was frozen when it was saved has no moments.
TEST(LoadRunTest, AnEncoderThatWasFrozenTrainsWhenItsMomentsMayBeMissing) {
  ASSERT_THAT(RunConfigured(EightSteps({"checkpoint.save={folder: \"frozen\" interval_steps: 4}",
                                        "model.freeze_encoder=true"}))
                  .status,
              IsOk());
  EXPECT_THAT(
      RunConfigured(EightSteps({"checkpoint.load={folder: \"frozen\" iteration: 4}"})).status,
      StatusIs(absl::StatusCode::kNotFound,
               HasSubstr("mimo.radio_encoder.optimizer.state.exp_avg.")));
  const RecipeRun run =
      RunConfigured(EightSteps({"checkpoint.load={folder: \"frozen\" iteration: 4 allow_missing: "
                                "\"mimo.radio_encoder.optimizer.*\"}"}));
  EXPECT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("is not in the checkpoint and keeps its values"));
}

TEST(LoadRunTest, GroupsOfParametersGoOnWithTheirOwnSettings) {
  ASSERT_THAT(
      RunConfigured(EightSteps({"checkpoint.save={folder: \"groups\" interval_steps: 4}"})).status,
      IsOk());
  const std::string load = "checkpoint.load={folder: \"groups\" iteration: 4";
  const std::string scale =
      "optimizer.per_module[0]={module: \"language\" learning_rate_scale: 0.5}";
  EXPECT_THAT(RunConfigured(EightSteps({absl::StrCat(load, "}"), scale})).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mimo.language.optimizer.mimo.language.param_groups"),
                             HasSubstr("lr_mult: 1.0"), HasSubstr("lr_mult: 0.5"),
                             HasSubstr("override_groups=true"))));
  proto::RunConfig config = EightSteps({absl::StrCat(load, " override_groups: true}"), scale});
  ASSERT_THAT(RunConfigured(config).status, IsOk());
  // Dense and expert groups of the language model, each on both sides.
  EXPECT_EQ(ResumeReport(config)["changed_settings"].size(), 4u);
  config =
      EightSteps({absl::StrCat(load, "}"), "schedule={style: CONSTANT peak: 0.002 minimum: 0}"});
  ASSERT_THAT(RunConfigured(config).status, IsOk());
  EXPECT_THAT(ResumeReport(config)["changed_settings"].dump(),
              AllOf(HasSubstr("mimo.language.optimizer.mimo.language.1.param_groups"),
                    HasSubstr("mimo.radio_encoder.optimizer.mimo.radio_encoder.param_groups"),
                    HasSubstr("-> 0.002")));
}

// What is frozen has no use for its groups, and that is no difference of settings.
TEST(LoadRunTest, AnEncoderThatTrainedGoesOnFrozen) {
  ASSERT_THAT(
      RunConfigured(EightSteps({"checkpoint.save={folder: \"thawed\" interval_steps: 4}"})).status,
      IsOk());
  const proto::RunConfig config = EightSteps(
      {"checkpoint.load={folder: \"thawed\" iteration: 4}", "model.freeze_encoder=true"});
  ASSERT_THAT(RunConfigured(config).status, IsOk());
  EXPECT_THAT(ResumeReport(config)["changed_settings"].dump(),
              HasSubstr("this run has no group {is_decoupled_lr"));
}

}  // namespace
}  // namespace hetero
