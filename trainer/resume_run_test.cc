// Runs that save, end and go on as if they had not ended.

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/testing/program.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "hetero/trainer/testing/run_checkpoint.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// The bytes of each file in a folder.
std::map<std::string, std::string> FilesIn(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::ostringstream bytes;
    bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    files[entry.path().filename()] = bytes.str();
  }
  return files;
}

std::vector<double> Losses(const RecipeRun& run) {
  std::vector<double> losses;
  for (const StepMetrics& step : run.steps) {
    losses.push_back(step.losses.at(0).sum);
    losses.push_back(step.grad_norm.value());
  }
  return losses;
}

TEST(ResumeRunTest, ARunInTwoPartsIsTheRunInOneToTheBit) {
  const RecipeRun whole =
      RunConfigured(EightSteps({"checkpoint.save={folder: \"whole\" interval_steps: 5}"}));
  ASSERT_THAT(whole.status, IsOk());
  EXPECT_THAT(whole.output,
              AllOf(HasSubstr("saved iteration 5: "), HasSubstr("saved iteration 8: ")));
  EXPECT_THAT(NamesIn("whole"),
              ElementsAre("iter_0000005", "iter_0000008", "latest_checkpointed_iteration.txt"));
  proto::RunConfig config = EightSteps(
      {"checkpoint.save.folder=rest", "checkpoint.load={folder: \"whole\" iteration: 5}"});
  const RecipeRun rest = RunConfigured(config);
  ASSERT_THAT(rest.status, IsOk());
  EXPECT_THAT(rest.output,
              AllOf(HasSubstr("whole/iter_0000005: step 5 of 8"),
                    HasSubstr("iteration        6/       8 | consumed samples:           96"),
                    HasSubstr("RESULT steps=8 ")));
  const std::vector<double> all = Losses(whole);
  EXPECT_EQ(Losses(rest), std::vector<double>(all.begin() + 10, all.end()));
  EXPECT_TRUE(CompareCheckpoints(CheckpointIn("whole", 8), CheckpointIn("rest", 8)).none());
  const nlohmann::json report = ResumeReport(config);
  EXPECT_EQ(report["step"], 5);
  EXPECT_EQ(report["kept_initial_values"].size(), 0u);
}

// Between two saves it is lost only what came after the last.
TEST(ResumeRunTest, ARunThatIsKilledGoesOnFromItsLastCheckpoint) {
  const std::vector<std::string> common = {
      "--recipe=mock_vlm_tiny",           "--save=saved", "--set",
      "checkpoint.save.interval_steps=3", "--set",        "schedule.style=CONSTANT"};
  const auto arguments = [&](std::vector<std::string> more) {
    more.insert(more.begin(), common.begin(), common.end());
    return more;
  };
  Program killed({.arguments = arguments({"--set", "train_steps=1000000"})});
  const fs::path folder = killed.working_folder();
  ASSERT_TRUE(killed.WaitForOutput("saved iteration 6: "));
  killed.Signal(SIGKILL);
  killed.Wait();
  const ProgramResult rest =
      RunProgram({.arguments = arguments({"--set", "train_steps=20", "--load=latest"}),
                  .working_folder = folder});
  ASSERT_EQ(rest.exit_code, 0) << rest.error;
  EXPECT_THAT(rest.output, HasSubstr("goes on from "));
  const ProgramResult whole =
      RunProgram({.arguments = {"--recipe=mock_vlm_tiny", "--save=whole", "--set", "train_steps=20",
                                "--set", "schedule.style=CONSTANT"},
                  .working_folder = folder});
  ASSERT_EQ(whole.exit_code, 0) << whole.error;
  EXPECT_TRUE(
      CompareCheckpoints(folder / "saved/iter_0000020", folder / "whole/iter_0000020").none());
}

// Pieces save where they load, and leave what they loaded as it was.
TEST(ResumeRunTest, ARunInPiecesOfSoManyStepsIsTheWholeRun) {
  const std::vector<std::string> settings = {"train_steps=6"};
  const RecipeRun whole = RunConfigured(RecipeConfig("mock_tiny", settings));
  ASSERT_THAT(whole.status, IsOk());
  std::vector<std::string> piece = settings;
  piece.insert(piece.end(), {"stop_every_steps=4", "checkpoint.save.folder=pieces",
                             "checkpoint.load={folder: \"pieces\" allow_fresh_start: true}"});
  const RecipeRun first = RunConfigured(RecipeConfig("mock_tiny", piece));
  EXPECT_THAT(first.status,
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped by stop_every_steps: ")));
  EXPECT_EQ(first.steps.size(), 4u);
  const std::map<std::string, std::string> saved = FilesIn(CheckpointIn("pieces", 4));
  const RecipeRun second = RunConfigured(RecipeConfig("mock_tiny", piece));
  ASSERT_THAT(second.status, IsOk());
  ASSERT_EQ(second.steps.size(), 2u);
  EXPECT_EQ(second.steps[1].losses[0].sum, whole.steps[5].losses[0].sum);
  EXPECT_THAT(NamesIn("pieces"),
              ElementsAre("iter_0000004", "iter_0000006", "latest_checkpointed_iteration.txt"));
  EXPECT_GT(saved.size(), 3u);
  EXPECT_TRUE(FilesIn(CheckpointIn("pieces", 4)) == saved);
}

TEST(ResumeRunTest, TheSameCommandAgainSaysHowToGoOn) {
  const proto::RunConfig config = RecipeConfig(
      "mock_tiny", {"train_steps=4", "logging.folder=runs/again", "checkpoint.save.keep_last=1"});
  EXPECT_THAT(RunConfigured(config).output, Not(HasSubstr("--load=latest")));
  EXPECT_THAT(RunConfigured(config).output,
              HasSubstr("/checkpoints has iteration 4; --load=latest goes on from there, this run "
                        "starts anew"));
  proto::RunConfig longer = config;
  longer.set_train_steps(6);
  longer.mutable_checkpoint()->mutable_load()->set_folder("latest");
  const RecipeRun run = RunConfigured(longer);
  ASSERT_THAT(run.status, IsOk());
  EXPECT_EQ(run.steps.size(), 2u);
  const RecipeRun done = RunConfigured(longer);
  EXPECT_THAT(done.output, HasSubstr("nothing is left to train"));
}

TEST(ResumeRunTest, ADamagedCheckpointIsPassedOverAndTwoAreTooMany) {
  ASSERT_THAT(
      RunConfigured(EightSteps({"checkpoint.save={folder: \"damage\" interval_steps: 2}"})).status,
      IsOk());
  DamageCheckpoint(CheckpointIn("damage", 8));
  const proto::RunConfig config = EightSteps({"checkpoint.load.folder=damage"});
  const RecipeRun run = RunConfigured(config);
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, AllOf(HasSubstr("cannot go on from iter_0000008"),
                                HasSubstr("iter_0000006: step 6 of 8")));
  EXPECT_EQ(run.steps.size(), 2u);
  EXPECT_EQ(ResumeReport(config)["warnings"].size(), 1u);
  // One rank reads a damaged block; all stop with what that one says.
  const absl::Time start = absl::Now();
  const absl::Status refused =
      RunConfigured(EightSteps({"checkpoint.load={folder: \"damage\" max_fallbacks: 0}"})).status;
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kDataLoss,
                                ContainsRegex("rank [0-9]+: .*, block 0: .*the checksum of")));
  EXPECT_EQ(ExitCodeFor(refused), ExitCode::kCheckpointDamaged);
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST(ResumeRunTest, AnotherModelOrOtherDataIsRefusedBeforeRanksStart) {
  ASSERT_THAT(RunConfigured(EightSteps({"checkpoint.save.folder=first"})).status, IsOk());
  const auto refused = [](const std::vector<std::string>& more) {
    std::vector<std::string> assignments = more;
    assignments.push_back("checkpoint.load.folder=first");
    return RunConfigured(EightSteps(assignments)).status;
  };
  EXPECT_THAT(refused({"seed=1"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("checkpoint.load: seed is 1, the checkpoint has 1234")));
  EXPECT_THAT(refused({"model.language.attention={num_heads: 8 head_dim: 16 num_kv_groups: 2}"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.language.attention.num_heads is 8, the checkpoint has 4")));
  const absl::Status other_model =
      RunConfigured(EightSteps({"model.language.hidden_size=64", "checkpoint.save.folder=first"}))
          .status;
  EXPECT_THAT(other_model,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("of another model")));
  EXPECT_EQ(ExitCodeFor(other_model), ExitCode::kFolderInUse);
}

}  // namespace
}  // namespace hetero
