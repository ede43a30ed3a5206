// Runs that save, end and go on.

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/inspect/difference.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/testing/program.h"
#include "hetero/trainer/testing/recipe_run.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kNumSteps = 8;

// An encoder and a language model with experts, whose bias is state too.
proto::RunConfig Config(std::vector<std::string> assignments) {
  assignments.push_back(absl::StrCat("train_steps=", kNumSteps));
  return RecipeConfig("mock_vlm_tiny", assignments);
}

std::vector<double> Losses(const RecipeRun& run) {
  std::vector<double> losses;
  for (const StepMetrics& step : run.steps) {
    losses.push_back(step.losses.at(0).sum);
    losses.push_back(step.grad_norm.value());
  }
  return losses;
}

std::vector<std::string> Names(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(TestFolder() / folder)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(".")) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

fs::path Checkpoint(std::string_view folder, int iteration) {
  return TestFolder() / folder / absl::StrCat("iter_", absl::Dec(iteration, absl::kZeroPad7));
}

// Every byte of weights, masters and moments.
DifferenceReport Compare(const fs::path& first, const fs::path& second) {
  PosixStorage storage;
  const auto a = StoredTensors::Open(storage, first);
  const auto b = StoredTensors::Open(storage, second);
  EXPECT_THAT(a, IsOk());
  EXPECT_THAT(b, IsOk());
  return CompareTensors(**a, **b).value();
}

void FlipByte(const fs::path& path, int64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(offset);
  const char byte = static_cast<char>(file.get() ^ 1);
  file.seekp(offset);
  file.put(byte);
  ASSERT_TRUE(file.good()) << path;
}

// The largest file of a checkpoint holds tensors; in its middle there is some payload.
void Damage(const fs::path& checkpoint) {
  fs::path largest;
  for (const auto& entry : fs::directory_iterator(checkpoint)) {
    if (largest.empty() || entry.file_size() > fs::file_size(largest)) largest = entry.path();
  }
  for (int64_t offset = 0; offset < static_cast<int64_t>(fs::file_size(largest)); offset += 4096) {
    FlipByte(largest, offset);
  }
}

nlohmann::json ResumeReport(const proto::RunConfig& config) {
  fs::path newest;
  for (const auto& run : fs::directory_iterator(TestFolder() / config.logging().folder())) {
    if (run.path() > newest) newest = run.path();
  }
  return nlohmann::json::parse(std::ifstream(newest / "resume_report.json"));
}

TEST(ResumeRunTest, ARunInTwoPartsIsTheRunInOneToTheBit) {
  const RecipeRun whole =
      RunConfigured(Config({"checkpoint.save={folder: \"whole\" interval_steps: 5}"}));
  ASSERT_THAT(whole.status, IsOk());
  EXPECT_THAT(whole.output,
              AllOf(HasSubstr("saved iteration 5: "), HasSubstr("saved iteration 8: ")));
  EXPECT_THAT(Names("whole"),
              ElementsAre("iter_0000005", "iter_0000008", "latest_checkpointed_iteration.txt"));
  proto::RunConfig config =
      Config({"checkpoint.save.folder=rest", "checkpoint.load={folder: \"whole\" iteration: 5}"});
  const RecipeRun rest = RunConfigured(config);
  ASSERT_THAT(rest.status, IsOk());
  EXPECT_THAT(rest.output,
              AllOf(HasSubstr("whole/iter_0000005: step 5 of 8"),
                    HasSubstr("iteration        6/       8 | consumed samples:           96"),
                    HasSubstr("RESULT steps=8 ")));
  const std::vector<double> all = Losses(whole);
  EXPECT_EQ(Losses(rest), std::vector<double>(all.begin() + 10, all.end()));
  EXPECT_TRUE(Compare(Checkpoint("whole", 8), Checkpoint("rest", 8)).none());
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
  EXPECT_TRUE(Compare(folder / "saved/iter_0000020", folder / "whole/iter_0000020").none());
}

TEST(ResumeRunTest, ASignalSavesBeforeTheRunEnds) {
  Program program(
      {.arguments = {"--recipe=mock_tiny", "--set", "train_steps=1000000", "--save=x"}});
  ASSERT_TRUE(program.WaitForOutput("iteration"));
  program.Signal(SIGTERM);
  const ProgramResult result = program.Wait();
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.output, AllOf(HasSubstr("saved iteration "), HasSubstr("RESULT steps=")));
  EXPECT_TRUE(fs::exists(program.working_folder() / "x/latest_checkpointed_iteration.txt"));
}

TEST(ResumeRunTest, TimeEndsARunWithASave) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"train_steps=1000000", "stop_after_minutes=0.01",
                                               "checkpoint.save.folder=time"}));
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped by stop_after_minutes")));
  EXPECT_THAT(run.output, HasSubstr("saved iteration "));
}

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
  const RecipeRun second = RunConfigured(RecipeConfig("mock_tiny", piece));
  ASSERT_THAT(second.status, IsOk());
  ASSERT_EQ(second.steps.size(), 2u);
  EXPECT_EQ(second.steps[1].losses[0].sum, whole.steps[5].losses[0].sum);
}

TEST(ResumeRunTest, EvaluationsBeginWhereTheConfigurationSays) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"train_steps=6",
                                               "evaluation={interval_steps: 2 first_step: 3 "
                                               "num_batches: 1}"}));
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, Not(HasSubstr("validation loss at iteration 2 ")));
  EXPECT_THAT(run.output, HasSubstr("validation loss at iteration 4 "));
}

TEST(ResumeRunTest, SavesFollowTheClockToo) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"train_steps=40",
                                               "checkpoint.save={folder: \"clock\" "
                                               "interval_minutes: 0.001 keep_last: 2}"}));
  ASSERT_THAT(run.status, IsOk());
  const std::vector<std::string> saves = absl::StrSplit(run.output, "saved iteration ");
  EXPECT_GE(saves.size(), 4u);
  EXPECT_EQ(Names("clock").size(), 3u);
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
      RunConfigured(Config({"checkpoint.save={folder: \"damage\" interval_steps: 2}"})).status,
      IsOk());
  Damage(Checkpoint("damage", 8));
  const proto::RunConfig config = Config({"checkpoint.load.folder=damage"});
  const RecipeRun run = RunConfigured(config);
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, AllOf(HasSubstr("cannot go on from iter_0000008"),
                                HasSubstr("iter_0000006: step 6 of 8")));
  EXPECT_EQ(run.steps.size(), 2u);
  EXPECT_EQ(ResumeReport(config)["warnings"].size(), 1u);
  const absl::Status refused =
      RunConfigured(Config({"checkpoint.load={folder: \"damage\" max_fallbacks: 0}"})).status;
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the checksum of")));
  EXPECT_EQ(ExitCodeFor(refused), ExitCode::kCheckpointDamaged);
}

// The first update from weights alone is that of a new optimizer, not of the initial weights.
TEST(ResumeRunTest, FinetuningBeginsAnewWithTheWeights) {
  ASSERT_THAT(RunConfigured(Config({"checkpoint.save.folder=trained"})).status, IsOk());
  const RecipeRun tuned = RunConfigured(Config(
      {"checkpoint.load={folder: \"trained\" finetune: true}", "seed=99",
       "schedule={style: CONSTANT peak: 1e-30 minimum: 0}", "checkpoint.save.folder=tuned"}));
  ASSERT_THAT(tuned.status, IsOk());
  EXPECT_EQ(tuned.steps.size(), kNumSteps);
  EXPECT_THAT(tuned.output, HasSubstr("begins with the weights of "));
  // Nothing of the weights has changed but the experts' biases; moments have.
  for (const TensorDifference& difference :
       Compare(Checkpoint("trained", 8), Checkpoint("tuned", 8)).different) {
    EXPECT_TRUE(difference.key.find("exp_avg") != std::string::npos ||
                difference.key.find("expert_bias") != std::string::npos)
        << difference.ToString();
  }
}

// Without our manifest a checkpoint is one of others.
TEST(ResumeRunTest, WeightsOfOneModuleOfAForeignCheckpointAreTaken) {
  ASSERT_THAT(RunConfigured(Config({"checkpoint.save.folder=foreign"})).status, IsOk());
  for (const char* name : {"manifest.json", "manifest.crc", "COMMIT"}) {
    fs::remove(Checkpoint("foreign", 8) / name);
  }
  const std::string load =
      "checkpoint.load={folder: \"foreign\" finetune: true modules: \"radio_encoder\"";
  EXPECT_THAT(RunConfigured(Config({absl::StrCat(load, "}")})).status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("foreign/iter_0000008")));
  const RecipeRun run =
      RunConfigured(Config({absl::StrCat(load, " foreign: true}"), "checkpoint.save.folder=taken",
                            "schedule={style: CONSTANT peak: 1e-30 minimum: 0}"}));
  ASSERT_THAT(run.status, IsOk());
  bool language_differs = false;
  for (const TensorDifference& difference :
       Compare(Checkpoint("foreign", 8), Checkpoint("taken", 8)).different) {
    language_differs |= difference.key.starts_with("language_model.");
    EXPECT_FALSE(difference.key.starts_with("modality_submodules.")) << difference.ToString();
  }
  EXPECT_TRUE(language_differs);
}

// A final norm that is stored is one that the model should have.
TEST(ResumeRunTest, WeightsThatTheModelHasNoPlaceForAreTold) {
  const std::string without = "model.encoder.final_norm=false";
  ASSERT_THAT(RunConfigured(Config({"checkpoint.save.folder=normed"})).status, IsOk());
  EXPECT_THAT(RunConfigured(Config({"checkpoint.load.folder=normed", without})).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.encoder.final_norm is false, the checkpoint has true")));
  for (const char* name : {"manifest.json", "manifest.crc", "COMMIT"}) {
    fs::remove(Checkpoint("normed", 8) / name);
  }
  const std::string load = "checkpoint.load={folder: \"normed\" foreign: true finetune: true";
  const RecipeRun run = RunConfigured(Config({absl::StrCat(load, "}"), without}));
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, AllOf(HasSubstr("2 weights of the checkpoint, such as "),
                                HasSubstr("final_layernorm.weight, have no place in this model")));
  EXPECT_THAT(RunConfigured(Config({absl::StrCat(load, "}")})).output,
              Not(HasSubstr("have no place")));
  EXPECT_THAT(RunConfigured(Config({absl::StrCat(load, " refuse_unused: true}"), without})).status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("final_layernorm.weight")));
}

TEST(ResumeRunTest, AnotherModelOrOtherDataIsRefusedBeforeRanksStart) {
  ASSERT_THAT(RunConfigured(Config({"checkpoint.save.folder=first"})).status, IsOk());
  const auto refused = [](const std::vector<std::string>& more) {
    std::vector<std::string> assignments = more;
    assignments.push_back("checkpoint.load.folder=first");
    return RunConfigured(Config(assignments)).status;
  };
  EXPECT_THAT(refused({"seed=1"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("checkpoint.load: seed is 1, the checkpoint has 1234")));
  EXPECT_THAT(refused({"model.language.attention={num_heads: 8 head_dim: 16 num_kv_groups: 2}"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model.language.attention.num_heads is 8, the checkpoint has 4")));
  const absl::Status other_model =
      RunConfigured(Config({"model.language.hidden_size=64", "checkpoint.save.folder=first"}))
          .status;
  EXPECT_THAT(other_model,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("of another model")));
  EXPECT_EQ(ExitCodeFor(other_model), ExitCode::kFolderInUse);
}

// What was frozen when it was saved has no moments.
TEST(ResumeRunTest, AnEncoderThatWasFrozenTrainsWhenItsMomentsMayBeMissing) {
  ASSERT_THAT(RunConfigured(Config({"checkpoint.save={folder: \"frozen\" interval_steps: 4}",
                                    "model.freeze_encoder=true"}))
                  .status,
              IsOk());
  EXPECT_THAT(RunConfigured(Config({"checkpoint.load={folder: \"frozen\" iteration: 4}"})).status,
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("mimo.radio_encoder.optimizer.state.exp_avg.")));
  const RecipeRun run =
      RunConfigured(Config({"checkpoint.load={folder: \"frozen\" iteration: 4 allow_missing: "
                            "\"mimo.radio_encoder.optimizer.*\"}"}));
  EXPECT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("is not in the checkpoint and keeps its values"));
}

TEST(ResumeRunTest, GroupsOfParametersGoOnWithTheirOwnSettings) {
  ASSERT_THAT(
      RunConfigured(Config({"checkpoint.save={folder: \"groups\" interval_steps: 4}"})).status,
      IsOk());
  const std::string load = "checkpoint.load={folder: \"groups\" iteration: 4";
  const std::string scale =
      "optimizer.per_module[0]={module: \"language\" learning_rate_scale: 0.5}";
  EXPECT_THAT(RunConfigured(Config({absl::StrCat(load, "}"), scale})).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("mimo.language.optimizer.mimo.language.param_groups"),
                             HasSubstr("lr_mult: 1.0"), HasSubstr("lr_mult: 0.5"),
                             HasSubstr("override_groups=true"))));
  proto::RunConfig config = Config({absl::StrCat(load, " override_groups: true}"), scale});
  ASSERT_THAT(RunConfigured(config).status, IsOk());
  // Dense and expert groups of the language model, each on both sides.
  EXPECT_EQ(ResumeReport(config)["changed_settings"].size(), 4u);
  config = Config({absl::StrCat(load, "}"), "schedule={style: CONSTANT peak: 0.002 minimum: 0}"});
  ASSERT_THAT(RunConfigured(config).status, IsOk());
  EXPECT_THAT(ResumeReport(config)["changed_settings"].dump(),
              AllOf(HasSubstr("mimo.language.optimizer.mimo.language.1.param_groups"),
                    HasSubstr("mimo.radio_encoder.optimizer.mimo.radio_encoder.param_groups"),
                    HasSubstr("-> 0.002")));
}

// What is frozen has no use for its groups, and that is no difference of settings.
TEST(ResumeRunTest, AnEncoderThatTrainedGoesOnFrozen) {
  ASSERT_THAT(
      RunConfigured(Config({"checkpoint.save={folder: \"thawed\" interval_steps: 4}"})).status,
      IsOk());
  const proto::RunConfig config =
      Config({"checkpoint.load={folder: \"thawed\" iteration: 4}", "model.freeze_encoder=true"});
  ASSERT_THAT(RunConfigured(config).status, IsOk());
  EXPECT_THAT(ResumeReport(config)["changed_settings"].dump(),
              HasSubstr("this run has no group {is_decoupled_lr"));
}

// Two jobs in one folder and a third in another count on.
TEST(ResumeRunTest, ProgressIsToldBesideTheCheckpoints) {
  const auto lines = [](const std::string& folder) {
    std::stringstream text;
    text << std::ifstream(TestFolder() / folder / "progress.txt").rdbuf();
    std::vector<std::string> all = absl::StrSplit(text.str(), '\n', absl::SkipEmpty());
    return all;
  };
  const std::string load = "checkpoint.load={folder: \"progress\" iteration: 3}";
  for (const std::vector<std::string>& settings : std::vector<std::vector<std::string>>{
           {"train_steps=3", "checkpoint.save.folder=progress"},
           {"train_steps=6", "checkpoint.save.folder=progress", load},
           {"train_steps=6", "checkpoint.save.folder=elsewhere", load}}) {
    std::vector<std::string> all = settings;
    all.emplace_back("logging.throughput=true");
    ASSERT_THAT(RunConfigured(RecipeConfig("mock_vlm_tiny", all)).status, IsOk());
  }
  ASSERT_EQ(lines("progress").size(), 4u);
  ASSERT_EQ(lines("elsewhere").size(), 6u);
  const auto columns = [](const std::string& line) {
    return std::vector<std::string>(absl::StrSplit(line, '\t'));
  };
  const std::vector<std::string> half = columns(lines("progress")[1]);
  const std::vector<std::string> end = columns(lines("elsewhere").back());
  EXPECT_EQ(half[4], "Iteration: 3");
  // 48 samples of 48 tokens.
  EXPECT_EQ(half[8], "Tokens (in billions): 0.000002");
  EXPECT_EQ(end[4], "Iteration: 6");
  const auto flops = [](const std::vector<std::string>& line) {
    return std::stod(line[7].substr(line[7].find(": ") + 2));
  };
  EXPECT_NEAR(flops(end), 2 * flops(half), 1e-5 * flops(end));
}

TEST(ResumeRunTest, TheBestStays) {
  const RecipeRun run =
      RunConfigured(Config({"checkpoint.save={folder: \"best\" keep_last: 1 keep_best: true}",
                            "schedule={style: CONSTANT peak: 0.3 minimum: 0}",
                            "evaluation={interval_steps: 2 num_batches: 1}"}));
  ASSERT_THAT(run.status, IsOk());
  const nlohmann::json best = nlohmann::json::parse(std::ifstream(TestFolder() / "best/best.json"));
  const std::vector<std::string> names = Names("best");
  EXPECT_THAT(names, testing::Contains(Checkpoint("best", best["iteration"]).filename().native()));
  EXPECT_LE(names.size(), 4u);
}

}  // namespace
}  // namespace hetero
