// Ranks that are processes: the same run as that of threads, and how it ends when one of them
// fails.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/inspect/difference.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/comm/flight.h"
#include "hetero/trainer/testing/program.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

using Arguments = std::vector<std::string>;

// Two encoder lanes, one of them for both language ranks' tokens; experts on two ranks.
Arguments ArgumentsOf(std::string_view launch, const Arguments& more = {}) {
  Arguments arguments = {"--recipe=mock_vlm_tiny", absl::StrCat("--launch=", launch)};
  const Arguments settings = {"radio_encoder.num_ranks=2",
                              "language.rank_offset=2",
                              "language.num_ranks=2",
                              "language.tp=2",
                              "language.ep=2",
                              "train_steps=6",
                              "logging.console_interval_steps=1"};
  for (const std::string& setting : settings) {
    arguments.insert(arguments.end(), {"--set", setting});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

// Losses, norms and the result, without times.
std::vector<std::string> Numbers(const std::string& output) {
  std::vector<std::string> numbers;
  for (std::string_view line : absl::StrSplit(output, '\n')) {
    for (std::string_view part : absl::StrSplit(line, '|')) {
      part = absl::StripAsciiWhitespace(part);
      if (part.starts_with("lm loss:") || part.starts_with("grad norm")) numbers.emplace_back(part);
    }
    if (line.starts_with("RESULT")) numbers.emplace_back(line.substr(line.find(" skipped_steps=")));
  }
  return numbers;
}

std::vector<pid_t> RanksOf(const Program& launcher) {
  std::vector<pid_t> ranks;
  std::ifstream children(
      absl::StrCat("/proc/", launcher.process(), "/task/", launcher.process(), "/children"));
  for (pid_t child = 0; children >> child;) ranks.push_back(child);
  std::ranges::sort(ranks);
  return ranks;
}

bool IsGone(pid_t process) { return kill(process, 0) != 0; }

std::string_view LastLine(std::string_view text) {
  text = absl::StripTrailingAsciiWhitespace(text);
  return text.substr(text.rfind('\n') + 1);
}

TEST(ProcessesRunTest, LossesNormsAndCheckpointAreThoseOfThreadsToTheBit) {
  const Arguments save = {"--save=saved"};
  Program threads({.arguments = ArgumentsOf("threads:4", save)});
  const ProgramResult expected = threads.Wait();
  ASSERT_EQ(expected.exit_code, 0) << expected.error;
  ASSERT_THAT(Numbers(expected.output), SizeIs(13));
  Program processes({.arguments = ArgumentsOf("processes:4", save)});
  const ProgramResult result = processes.Wait();
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_EQ(Numbers(result.output), Numbers(expected.output));
  EXPECT_THAT(result.output, HasSubstr("4 ranks, each a process, on the CPU"));

  PosixStorage storage;
  const auto first = StoredTensors::Open(storage, threads.working_folder() / "saved/iter_0000006");
  const auto second =
      StoredTensors::Open(storage, processes.working_folder() / "saved/iter_0000006");
  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  const DifferenceReport report = CompareTensors(**first, **second).value();
  EXPECT_TRUE(report.none());
  EXPECT_GT(report.equal, 0);

  // And on from there.
  const ProgramResult rest = RunProgram(
      {.arguments = ArgumentsOf("processes:4", {"--load=saved", "--set", "train_steps=8"}),
       .working_folder = processes.working_folder()});
  EXPECT_EQ(rest.exit_code, 0) << rest.error;
  EXPECT_THAT(rest.output, HasSubstr("saved/iter_0000006: step 6 of 8"));
}

ProgramOptions UnderTorchrun(int rank, int world_size, Arguments arguments) {
  // Below the ports that are given to whoever asks for any.
  const int port = 20000 + getpid() % 12000;
  return {.arguments = std::move(arguments),
          .environment = {absl::StrCat("RANK=", rank), absl::StrCat("WORLD_SIZE=", world_size),
                          "MASTER_ADDR=127.0.0.1", absl::StrCat("MASTER_PORT=", port)}};
}

TEST(ProcessesRunTest, TheCapsuleOfAStepIsReproducedByThreads) {
  // A rate after whose first update nothing is finite.
  Program processes(
      {.arguments = ArgumentsOf(
           "processes:4", {"--set", "schedule={style: CONSTANT peak: 1e18 minimum: 0}", "--set",
                           "checkpoint.save={interval_steps: 1 synchronous: true}"})});
  const ProgramResult run = processes.Wait();
  EXPECT_EQ(run.exit_code, 5) << run.error;
  const size_t flag = run.output.find("--replay=");
  ASSERT_NE(flag, std::string::npos) << run.output;
  const std::string replay = run.output.substr(flag, run.output.find(' ', flag) - flag);
  const ProgramResult again = RunProgram({.arguments = {replay}});
  EXPECT_EQ(again.exit_code, 0) << again.error;
  EXPECT_THAT(again.output,
              AllOf(HasSubstr("replays iteration 2 (samples 16 to 31) from "
                              "checkpoint/iter_0000001"),
                    HasSubstr("reproduced: 1 step to the bit"), HasSubstr("lm loss nan"),
                    HasSubstr("first infinite or NaN: the output of radio_encoder.0")));
  // It has a configuration, and is one process.
  EXPECT_EQ(RunProgram({.arguments = {replay, "--set", "seed=1"}}).exit_code, 2);
  const ProgramResult launched =
      RunProgram({.arguments = {replay},
                  .environment = {"RANK=0", "WORLD_SIZE=2", "LOCAL_RANK=0", "MASTER_ADDR=127.0.0.1",
                                  "MASTER_PORT=29500"}});
  EXPECT_EQ(launched.exit_code, 2);
  EXPECT_THAT(launched.error, HasSubstr("is one process"));
}

TEST(ProcessesRunTest, ALauncherBringsTheRanks) {
  const ProgramResult expected = RunProgram({.arguments = ArgumentsOf("threads:4")});
  std::vector<std::unique_ptr<Program>> ranks;
  for (int rank = 0; rank < 4; ++rank) {
    ranks.push_back(std::make_unique<Program>(UnderTorchrun(rank, 4, ArgumentsOf("threads:4"))));
  }
  for (int rank = 0; rank < 4; ++rank) {
    const ProgramResult result = ranks[static_cast<size_t>(rank)]->Wait();
    EXPECT_EQ(result.exit_code, 0) << result.error;
    EXPECT_EQ(result.error, "");
    if (rank < 3) {
      EXPECT_EQ(result.output, "");
      continue;
    }
    EXPECT_EQ(Numbers(result.output), Numbers(expected.output));
    EXPECT_THAT(result.output,
                HasSubstr("launch processes:4 of torchrun takes the place of threads:4"));
  }
}

TEST(ProcessesRunTest, ProcessesOfDifferentRunsSayWhatDiffers) {
  std::vector<std::unique_ptr<Program>> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::make_unique<Program>(UnderTorchrun(
        rank, 2, {"--recipe=mock_vlm_tiny", "--set", absl::StrCat("seed=", rank + 1)})));
  }
  for (const auto& rank : ranks) {
    const ProgramResult result = rank->Wait();
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_THAT(result.error,
                HasSubstr("all processes of a run need the same configuration; rank 0 has 'seed: "
                          "1', rank 1 has 'seed: 2'"));
  }
}

TEST(ProcessesRunTest, WhatIsWrongIsToldOnce) {
  ProgramResult result =
      RunProgram({.arguments = ArgumentsOf("processes:4", {"--set", "seed=-1"})});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.error, AllOf(HasSubstr("error: seed is -1"), Not(HasSubstr("rank"))));
  result = RunProgram({.arguments = ArgumentsOf("processes:4"), .environment = {"RANK=0"}});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.error, HasSubstr("of the variables of torchrun, RANK is set, but WORLD_SIZE"));
}

TEST(ProcessesRunTest, ASignalToTheLauncherOrToARankStopsAllAfterTheStep) {
  for (const bool to_launcher : {true, false}) {
    Program program({.arguments = ArgumentsOf("processes:4", {"--set", "train_steps=1000000"})});
    ASSERT_TRUE(program.WaitForOutput("iteration"));
    const std::vector<pid_t> ranks = RanksOf(program);
    ASSERT_THAT(ranks, SizeIs(4));
    kill(to_launcher ? program.process() : ranks[1], SIGTERM);
    const ProgramResult result = program.Wait(absl::Seconds(10));
    EXPECT_EQ(result.exit_code, 6) << result.error;
    EXPECT_THAT(result.output, HasSubstr("RESULT steps="));
    EXPECT_THAT(LastLine(result.error), HasSubstr("the run was ended after "));
    for (const pid_t rank : ranks) EXPECT_TRUE(IsGone(rank));
  }
}

TEST(ProcessesRunTest, RanksEndWithTheirLauncher) {
  Program program({.arguments = ArgumentsOf("processes:4", {"--set", "train_steps=1000000"})});
  ASSERT_TRUE(program.WaitForOutput("iteration"));
  const std::vector<pid_t> ranks = RanksOf(program);
  program.Signal(SIGKILL);
  program.Wait();
  const absl::Time last = absl::Now() + absl::Seconds(10);
  while (!std::ranges::all_of(ranks, IsGone) && absl::Now() < last) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_TRUE(std::ranges::all_of(ranks, IsGone));
}

TEST(ProcessesRunTest, OneTraceOfAllRanksIsLeft) {
  Program program({.arguments = ArgumentsOf("processes:4", {"--trace=t.json"})});
  const ProgramResult result = program.Wait();
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_TRUE(fs::exists(program.working_folder() / "t.json"));
  EXPECT_FALSE(fs::exists(program.working_folder() / "t.rank0.json"));
  std::ifstream file(program.working_folder() / "t.json");
  const std::string trace{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_THAT(trace, HasSubstr(absl::StrCat("\"rank ", rank)));
  }
}

TEST(ProcessesRunTest, OneProfileOfAllRanksIsTold) {
  const ProgramResult result = RunProgram({.arguments = ArgumentsOf("processes:4", {"--profile"})});
  ASSERT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(
      result.output,
      AllOf(HasSubstr("operation, all ranks"), ContainsRegex("radio_encoder, 2 ranks +[0-9.]+ "),
            ContainsRegex("language, 2 ranks +[0-9.]+ "), HasSubstr("\nverdict: ")));
  EXPECT_EQ(result.output.find("verdict: "), result.output.rfind("verdict: "));
}

TEST(ProcessesRunTest, SurvivorsLeaveWhatTheyCalledLast) {
  Program program({.arguments = ArgumentsOf("processes:4", {"--set", "train_steps=1000000"})});
  ASSERT_TRUE(program.WaitForOutput("iteration"));
  const std::vector<pid_t> ranks = RanksOf(program);
  ASSERT_THAT(ranks, SizeIs(4));
  kill(ranks[1], SIGKILL);
  EXPECT_EQ(program.Wait(absl::Seconds(20)).exit_code, 4);
  std::vector<RankFlight> flights;
  for (const auto& entry : fs::recursive_directory_iterator(program.working_folder())) {
    if (entry.path().parent_path().filename() != "flight") continue;
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const auto flight = ParseRankFlight(text);
    ASSERT_THAT(flight, IsOk());
    EXPECT_THAT(flight->failure, HasSubstr("rank 1"));
    EXPECT_THAT(flight->operation, HasSubstr("step "));
    flights.push_back(*flight);
  }
  ASSERT_THAT(flights, SizeIs(3));
  const auto explained = ExplainFlights(flights);
  ASSERT_THAT(explained, IsOk());
  EXPECT_THAT(*explained, HasSubstr("    1  left nothing"));
  EXPECT_THAT(*explained, HasSubstr("language, tp 0"));
}

TEST(ProcessesRunTest, ARankThatEndsBeforeItComesIsNamedAtOnce) {
  for (size_t rank = 0; rank < 4; ++rank) {
    Program program({.arguments = ArgumentsOf("processes:4")});
    std::vector<pid_t> ranks;
    const absl::Time start = absl::Now();
    while (ranks.size() <= rank && absl::Now() - start < absl::Seconds(10)) {
      ranks = RanksOf(program);
    }
    ASSERT_GT(ranks.size(), rank);
    kill(ranks[rank], SIGKILL);
    const absl::Time failed = absl::Now();
    const ProgramResult result = program.Wait();
    EXPECT_LT(absl::Now() - failed, absl::Seconds(10)) << result.error;
    EXPECT_EQ(result.exit_code, 4) << result.error;
    EXPECT_THAT(LastLine(result.error),
                HasSubstr(absl::StrCat("error: rank ", rank, " was killed by signal 9")));
  }
}

// A rank that is killed or stopped at any moment: of the start, of a step, of an evaluation, of the
// end. All ranks end within seconds with its name, or the run was over already.
class ProcessesFaultTest : public testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Moments, ProcessesFaultTest, testing::Range(0, 20));

TEST_P(ProcessesFaultTest, EndsAllRanksWithTheNameOfTheCulprit) {
  std::mt19937_64 random = FreshGenerator();
  for (const int fault : {SIGKILL, SIGSTOP}) {
    const size_t rank = random() % 4;
    const absl::Duration moment = absl::Milliseconds(GetParam() * 80 + random() % 80);
    Program program(
        {.arguments = ArgumentsOf(
             "processes:4", {"--set", "collective_timeout_seconds=2", "--set",
                             "arrival_timeout_seconds=5", "--set", "train_steps=30", "--set",
                             "evaluation={interval_steps: 3 num_batches: 4 micro_batch_size: 4 "
                             "global_batch_size: 16}"})});
    std::vector<pid_t> ranks;
    const absl::Time start = absl::Now();
    while (ranks.size() < 4 && absl::Now() - start < absl::Seconds(10)) {
      absl::SleepFor(absl::Milliseconds(1));
      ranks = RanksOf(program);
    }
    ASSERT_THAT(ranks, SizeIs(4));
    absl::SleepFor(moment);
    kill(ranks[rank], fault);
    const absl::Time failed = absl::Now();
    const ProgramResult result = program.Wait();
    EXPECT_LT(absl::Now() - failed, absl::Seconds(10)) << result.error;
    for (const pid_t process : ranks) EXPECT_TRUE(IsGone(process));
    if (result.exit_code == 0) continue;
    EXPECT_EQ(result.exit_code, 4) << result.error;
    EXPECT_THAT(LastLine(result.error), HasSubstr(absl::StrCat("error: rank ", rank)))
        << "signal " << fault << " after " << moment;
  }
}

}  // namespace
}  // namespace hetero
