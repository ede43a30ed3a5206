// What the program answers and leaves behind when it is started from a shell.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/recipes/recipes.h"
#include "hetero/trainer/run_folder.h"
#include "hetero/trainer/testing/program.h"

namespace hetero {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

TEST(CommandLineTest, HelpHasTheFlagsAndEveryExitCode) {
  const ProgramResult help = RunProgram({.arguments = {"--help"}});
  EXPECT_EQ(help.exit_code, 0) << help.error;
  EXPECT_THAT(help.output, AllOf(HasSubstr("--set PATH=VALUE"), HasSubstr("--version")));
  for (const ExitCodeMeaning& row : ExitCodeTable()) {
    EXPECT_THAT(help.output,
                HasSubstr(absl::StrCat("\n  ", static_cast<int>(row.code), "  ", row.meaning)));
  }
  const ProgramResult h = RunProgram({.arguments = {"-h"}});
  EXPECT_EQ(h.exit_code, 0) << h.error;
  EXPECT_EQ(h.output, help.output);
}

TEST(CommandLineTest, VersionNamesCommitCompilerLibrariesAndDevices) {
  const ProgramResult version = RunProgram({.arguments = {"--version"}});
  EXPECT_EQ(version.exit_code, 0) << version.error;
  const std::vector<std::string> lines = absl::StrSplit(version.output, '\n');
  ASSERT_EQ(lines.size(), 5) << version.output;
  EXPECT_THAT(lines[0],
              MatchesRegex("hetero (of an unknown commit|[0-9a-f]+( with local changes)?)"));
  EXPECT_THAT(lines[1], MatchesRegex("compiler: (GCC|Clang) [0-9.]+.*, C[+][+]20, .*"));
  EXPECT_THAT(lines[2], AllOf(StartsWith("libraries: "), ContainsRegex("protobuf 3[.][0-9]+"),
                              ContainsRegex("libpng 1[.]"), ContainsRegex("libwebp 1[.]"),
                              ContainsRegex("zlib 1[.]")));
  EXPECT_THAT(lines[3], AllOf(StartsWith("devices: "), ContainsRegex("[0-9]+ threads?; .*GPU")));
  EXPECT_THAT(lines[4], IsEmpty());
}

TEST(CommandLineTest, RecipesAreListedWithWhatTheyAreFor) {
  const ProgramResult list = RunProgram({.arguments = {"--list_recipes"}});
  EXPECT_EQ(list.exit_code, 0) << list.error;
  for (std::string_view name : RecipeNames()) {
    EXPECT_THAT(list.output, ContainsRegex(absl::StrCat("(^|\n)", std::string(name), " +[A-Z]")));
  }
}

// A recipe that takes a second, changed.
std::vector<std::string> Short(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"--recipe=mock_tiny", "--set=train_steps=4"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::filesystem::path OnlyRunFolder(const std::filesystem::path& working_folder) {
  std::vector<std::filesystem::path> folders(
      std::filesystem::directory_iterator(working_folder / "runs" / "mock_tiny"), {});
  EXPECT_EQ(folders.size(), 1);
  return folders.at(0);
}

std::string ReadFile(const std::filesystem::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(CommandLineTest, ARunThatDivergesEndsWithFive) {
  Program program(
      {.arguments = Short({"--set=schedule.peak=1e30", "--set=schedule.style=CONSTANT"})});
  const ProgramResult run = program.Wait();
  EXPECT_EQ(run.exit_code, static_cast<int>(ExitCode::kDiverged));
  EXPECT_THAT(run.output, HasSubstr("\nRESULT steps=4 "));
  EXPECT_THAT(run.error, StartsWith("error: the run diverged: "));
  EXPECT_THAT(ReadFile(OnlyRunFolder(program.working_folder()) / kConsoleLogFile),
              AllOf(HasSubstr("\nRESULT steps=4 "), HasSubstr(run.error)));
}

// What `hetero | head -1` does: the reader of standard output is gone.
TEST(CommandLineTest, AClosedPipeStopsNoRun) {
  Program program({.arguments = Short({}), .before_start = [] {
                     int ends[2];
                     if (pipe(ends) != 0) _exit(99);
                     close(ends[0]);
                     dup2(ends[1], STDOUT_FILENO);
                     close(ends[1]);
                     signal(SIGPIPE, SIG_DFL);
                   }});
  const ProgramResult run = program.Wait();
  EXPECT_EQ(run.exit_code, 0) << run.error;
  EXPECT_THAT(run.error, IsEmpty());
  EXPECT_THAT(ReadFile(OnlyRunFolder(program.working_folder()) / kConsoleLogFile),
              HasSubstr("\nRESULT steps=4 "));
}

// The losses on the RESULT line.
std::string Losses(const std::string& output) {
  const size_t begin = output.find(" lm_loss=");
  EXPECT_NE(begin, output.npos) << output;
  return begin == output.npos ? "" : output.substr(begin);
}

TEST(CommandLineTest, TheConfigurationInTheRunsFolderRunsAgain) {
  Program first({.arguments = Short({"--set=seed=7"})});
  const ProgramResult run = first.Wait();
  ASSERT_EQ(run.exit_code, 0) << run.error;
  const std::filesystem::path config = OnlyRunFolder(first.working_folder()) / kResolvedConfigFile;
  EXPECT_THAT(ReadFile(config), ContainsRegex("^# hetero .*: --recipe=mock_tiny .*--set=seed=7\n"));
  const ProgramResult again = RunProgram({.arguments = {"--config=" + config.native()}});
  ASSERT_EQ(again.exit_code, 0) << again.error;
  EXPECT_EQ(Losses(again.output), Losses(run.output));
}

TEST(CommandLineTest, AConfigurationHasOneSource) {
  const ProgramResult result =
      RunProgram({.arguments = {"--config=mine.textproto", "--recipe=mock_tiny"}});
  EXPECT_EQ(result.exit_code, static_cast<int>(ExitCode::kConfig));
  EXPECT_THAT(result.error, HasSubstr("--config=mine.textproto and --recipe=mock_tiny are both "
                                      "whole configurations"));
}

TEST(CommandLineTest, TheDeviceIsTakenInAnyCaseByFlagAndField) {
  for (const std::string flag : {"--device=cpu", "--device=Cpu", "--set=device=cpu"}) {
    const ProgramResult result = RunProgram({.arguments = {"--print_config", flag}});
    EXPECT_EQ(result.exit_code, 0) << result.error;
    EXPECT_THAT(result.output, HasSubstr("device: CPU")) << flag;
  }
  EXPECT_THAT(RunProgram({.arguments = {"--device=gpu"}}).error,
              HasSubstr("device is 'gpu', must be one of CPU, CUDA"));
}

TEST(CommandLineTest, ARunBeginsWithWhatTheCommandLinePutOutOfForce) {
  const ProgramResult result =
      RunProgram({.arguments = {"--recipe=mock_tiny", "--dry_run", "--set=train_samples=64"}});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.output, StartsWith("--set train_samples=64 takes the place of train_steps of "
                                        "mock_tiny\n"));
}

TEST(CommandLineTest, AShortRunSaysThatItsWarmUpIsCut) {
  const ProgramResult result = RunProgram({.arguments = {"--dry_run", "--set=train_steps=10"}});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.output,
              HasSubstr("schedule.warmup_steps is cut from 30 to 9: the run has 10 steps"));
}

// The arguments of the first command of the page that begins with `command`, to the end of its
// block.
std::vector<std::string> ArgumentsOnThePage(std::string_view command) {
  std::stringstream text;
  text << std::ifstream("trainer/README.md").rdbuf();
  const std::string page = text.str();
  const size_t begin = page.find(command);
  if (begin == std::string::npos) return {};
  const std::string_view block =
      std::string_view(page).substr(begin, page.find("```", begin) - begin);
  std::vector<std::string> words =
      absl::StrSplit(block, absl::ByAnyChar(" \\\n"), absl::SkipEmpty());
  return {std::find(words.begin(), words.end(), "--") + 1, words.end()};
}

TEST(CommandLineTest, TheDivisionOfEightRanksOnThePageIsLegal) {
  std::vector<std::string> arguments =
      ArgumentsOnThePage("bazel run //trainer:hetero -- --recipe=mock_vlm_tiny --launch=threads:8");
  ASSERT_GT(arguments.size(), 10);
  arguments.emplace_back("--dry_run");
  const ProgramResult result = RunProgram({.arguments = arguments});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  for (const char* text :
       {" 2 language lanes\n", "  radio_encoder.0 x 4 ", "  language.0 x 4 ",
        "radio_encoder: 119424 parameters,", "language: 6789552 parameters, 6291456 of experts, ",
        "decoder.layers.4.mlp.experts.", "memory of 8 ranks: "}) {
    EXPECT_THAT(result.output, HasSubstr(text));
  }
}

}  // namespace
}  // namespace hetero
