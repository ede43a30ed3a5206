// When runs save, and what they leave beside their checkpoints.

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_split.h"
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
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(SaveRunTest, ASignalSavesBeforeTheRunEnds) {
  Program program(
      {.arguments = {"--recipe=mock_tiny", "--set", "train_steps=1000000", "--save=x"}});
  ASSERT_TRUE(program.WaitForOutput("iteration"));
  program.Signal(SIGTERM);
  const ProgramResult result = program.Wait();
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.output, AllOf(HasSubstr("saved iteration "), HasSubstr("RESULT steps=")));
  EXPECT_TRUE(fs::exists(program.working_folder() / "x/latest_checkpointed_iteration.txt"));
}

// What it may take is known from the save before.
TEST(SaveRunTest, ASignalGivesUpASaveThatWouldTakeTooLong) {
  for (const bool is_short : {true, false}) {
    Program program(
        {.arguments = {"--recipe=mock_vlm_tiny", "--set", "train_steps=1000000", "--save=x",
                       "--set", "checkpoint.save.interval_minutes=0.001", "--set",
                       is_short ? "checkpoint.save.grace_seconds=0.001"
                                : "checkpoint.save.grace_seconds=1000"}});
    ASSERT_TRUE(program.WaitForOutput("saved iteration "));
    program.Signal(SIGTERM);
    const ProgramResult result = program.Wait();
    EXPECT_EQ(result.exit_code, 6) << result.error;
    const auto given_up = AllOf(HasSubstr(" is not saved: "), HasSubstr("grace_seconds"));
    EXPECT_THAT(result.output, is_short ? ::testing::Matcher<std::string>(given_up)
                                        : Not(HasSubstr(" is not saved: ")));
    // Nothing is left of what was given up.
    for (const auto& entry : fs::directory_iterator(program.working_folder() / "x")) {
      EXPECT_FALSE(entry.path().filename().native().starts_with(".iter_")) << entry.path();
    }
  }
}

TEST(SaveRunTest, TimeEndsARunWithASave) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"train_steps=1000000", "stop_after_minutes=0.01",
                                               "checkpoint.save.folder=time"}));
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped by stop_after_minutes")));
  EXPECT_THAT(run.output, HasSubstr("saved iteration "));
}

TEST(SaveRunTest, SavesFollowTheClockToo) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"train_steps=40",
                                               "checkpoint.save={folder: \"clock\" "
                                               "interval_minutes: 0.001 keep_last: 2}"}));
  ASSERT_THAT(run.status, IsOk());
  const std::vector<std::string> saves = absl::StrSplit(run.output, "saved iteration ");
  EXPECT_GE(saves.size(), 4u);
  EXPECT_EQ(NamesIn("clock").size(), 3u);
}

// Files of this process stay below some size while it lives: checkpoints do not, what else a run
// writes does.
class SmallFiles {
 public:
  explicit SmallFiles(rlim_t bytes) {
    EXPECT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &usual_), 0);
    const rlimit small = {.rlim_cur = bytes, .rlim_max = usual_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  }
  ~SmallFiles() { setrlimit(RLIMIT_FSIZE, &usual_); }

 private:
  rlimit usual_;
};

TEST(SaveRunTest, SavesThatFailAgainAndAgainEndTheRun) {
  ASSERT_THAT(RunConfigured(EightSteps({"checkpoint.save={folder: \"full\" interval_steps: 2}",
                                        "stop_every_steps=2"}))
                  .status,
              StatusIs(absl::StatusCode::kCancelled));
  const std::string load = "checkpoint.load.folder=full";
  const SmallFiles files(100'000);
  const RecipeRun run = RunConfigured(
      EightSteps({"checkpoint.save={folder: \"full\" interval_steps: 1 max_failures: 3}", load}));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kSavesFail) << run.status;
  // One more has begun when the third is known to have failed.
  EXPECT_THAT(run.status.message(),
              ::testing::ContainsRegex("the last [34] checkpoints could not be saved: "));
  EXPECT_LT(run.steps.size(), 6u);
  // What was there before is there, and nothing else.
  EXPECT_THAT(NamesIn("full"), ElementsAre("iter_0000002", "latest_checkpointed_iteration.txt"));
  // Fewer failures do not end it.
  const RecipeRun whole = RunConfigured(
      EightSteps({"checkpoint.save={folder: \"full\" interval_steps: 4 max_failures: 3}", load}));
  EXPECT_EQ(whole.steps.size(), 6u);
  EXPECT_THAT(whole.output, HasSubstr("iteration 4 could not be saved: "));
  EXPECT_THAT(whole.status.message(), HasSubstr("the last checkpoint could not be saved"));
}

TEST(SaveRunTest, EvaluationsBeginWhereTheConfigurationSays) {
  const RecipeRun run =
      RunConfigured(RecipeConfig("mock_tiny", {"train_steps=6",
                                               "evaluation={interval_steps: 2 first_step: 3 "
                                               "num_batches: 1}"}));
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, Not(HasSubstr("validation loss at iteration 2 ")));
  EXPECT_THAT(run.output, HasSubstr("validation loss at iteration 4 "));
}

TEST(SaveRunTest, TheBestStays) {
  const RecipeRun run =
      RunConfigured(EightSteps({"checkpoint.save={folder: \"best\" keep_last: 1 keep_best: true}",
                                "schedule={style: CONSTANT peak: 0.3 minimum: 0}",
                                "evaluation={interval_steps: 2 num_batches: 1}"}));
  ASSERT_THAT(run.status, IsOk());
  const nlohmann::json best = nlohmann::json::parse(std::ifstream(TestFolder() / "best/best.json"));
  const std::vector<std::string> names = NamesIn("best");
  EXPECT_THAT(names,
              testing::Contains(CheckpointIn("best", best["iteration"]).filename().native()));
  EXPECT_LE(names.size(), 4u);
}

// Two jobs in one folder and a third in another count on.
TEST(SaveRunTest, ProgressIsToldBesideTheCheckpoints) {
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

}  // namespace
}  // namespace hetero
