// What only a whole process has: its descriptors, its limits, how it ends.

#include "hetero/trainer/testing/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

ProgramOptions OneStep(std::function<void()> before_start) {
  return {.arguments = {"--recipe=mock_tiny", "--set", "train_steps=1"},
          .before_start = std::move(before_start)};
}

ProgramResult RunOneStep(std::function<void()> before_start) {
  return RunProgram(OneStep(std::move(before_start)));
}

TEST(ProgramTest, AClosedStandardOutputIsNoSuccessAndNoFileOfTheRunTakesItsPlace) {
  const ProgramResult result = RunOneStep([] { close(STDOUT_FILENO); });
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.error, HasSubstr("standard output cannot be written"));
}

TEST(ProgramTest, AFullStandardOutputEndsTheRunBeforeItTrains) {
  const ProgramResult result = RunOneStep([] { dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO); });
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_THAT(result.error, AllOf(HasSubstr("standard output cannot be written: No space left"),
                                  Not(HasSubstr("RESULT"))));
}

TEST(ProgramTest, ARunThatNeverStartedLeavesNothing) {
  const auto limit_files = [](rlim_t bytes) {
    return [bytes] {
      const rlimit files = {.rlim_cur = bytes, .rlim_max = bytes};
      if (setrlimit(RLIMIT_FSIZE, &files) != 0) _exit(127);
    };
  };
  const std::vector<std::string> too_many_batches = {
      "--recipe=mock_tiny", "--set", "data.mock.num_samples=64", "--set",
      "evaluation={num_batches: 1000 micro_batch_size: 4 global_batch_size: 8}"};
  for (const auto& [options, exit_code] :
       {std::pair(OneStep([] { close(STDOUT_FILENO); }), 2),
        std::pair(OneStep([] { dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO); }), 7),
        std::pair(OneStep(limit_files(0)), 7),
        std::pair(OneStep(limit_files(1000)), 7),  // in the middle of the configuration
        std::pair(ProgramOptions{.arguments = too_many_batches}, 2)}) {
    Program program(options);
    const ProgramResult result = program.Wait();
    EXPECT_EQ(result.exit_code, exit_code) << result.error;
    EXPECT_FALSE(std::filesystem::exists(program.working_folder() / "runs")) << result.error;
  }
}

TEST(ProgramTest, ASignalThatIsSentTwiceAtOnceStopsTheRunWithItsResult) {
  Program program({.arguments = {"--recipe=mock_tiny", "--set", "train_steps=1000000"}});
  ASSERT_TRUE(program.WaitForOutput("iteration"));
  program.Signal(SIGSTOP);
  program.Signal(SIGTERM);
  program.Signal(SIGCONT);
  if (program.Running()) program.Signal(SIGTERM);
  const ProgramResult result = program.Wait(absl::Seconds(10));
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.output, HasSubstr("RESULT steps="));
}

TEST(ProgramTest, AReaderThatLeavesDoesNotStopARun) {
  const ProgramResult result = RunOneStep([] {
    int ends[2];
    if (pipe(ends) != 0) _exit(127);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
  });
  EXPECT_EQ(result.exit_code, 0) << result.error;
}

TEST(ProgramTest, RunsWithoutStandardInputAndError) {
  const ProgramResult result = RunOneStep([] {
    close(STDIN_FILENO);
    close(STDERR_FILENO);
  });
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.output, HasSubstr("RESULT steps=1 "));
}

TEST(ProgramTest, AWorkingFolderThatIsGoneIsSaid) {
  const ProgramResult result = RunOneStep([] {
    if (mkdir("gone", 0700) != 0 || chdir("gone") != 0 || rmdir("../gone") != 0) _exit(127);
  });
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_THAT(result.error, HasSubstr("error: the folder that the program was started in is gone"));
}

// Ends of a pipe that is full already.
std::pair<int, int> FullPipe() {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  EXPECT_EQ(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  const std::string blanks(4096, ' ');
  while (write(ends[1], blanks.data(), blanks.size()) > 0) {
  }
  EXPECT_EQ(fcntl(ends[1], F_SETFL, 0), 0);
  return {ends[0], ends[1]};
}

// The limit comes once the program is up and waits for the reader of its first line, so that what
// meets it is the run and no library's start.
TEST(ProgramTest, AThreadOrMemoryThatCannotBeHadIsSaid) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer maps memory of its own and aborts without it";
#endif
  const auto [reader, writer] = FullPipe();
  Program program({.arguments = {"--recipe=mock_tiny"},
                   .before_start = [writer = writer] { dup2(writer, STDOUT_FILENO); }});
  close(writer);
  const std::string process = "/proc/" + std::to_string(program.process());
  constexpr std::string_view kWriteOfOutput = "1 0x1 ";  // the call's number, the descriptor
  for (std::string call; !call.starts_with(kWriteOfOutput);) {
    ASSERT_TRUE(program.Running()) << program.Error();
    absl::SleepFor(absl::Milliseconds(5));
    std::getline(std::ifstream(process + "/syscall"), call);
  }
  int64_t pages = 0;
  std::ifstream(process + "/statm") >> pages;
  constexpr int64_t kLessThanAStack = 4 << 20;
  const rlim_t bytes = pages * sysconf(_SC_PAGESIZE) + kLessThanAStack;
  const rlimit memory = {.rlim_cur = bytes, .rlim_max = bytes};
  ASSERT_EQ(prlimit(program.process(), RLIMIT_AS, &memory, nullptr), 0);
  close(reader);
  const ProgramResult result = program.Wait();
  EXPECT_EQ(result.exit_code, 7) << result.output;
  EXPECT_THAT(result.error, AllOf(AnyOf(HasSubstr("error: cannot start the thread of "),
                                        HasSubstr("out of memory"), HasSubstr("bytes left for")),
                                  HasSubstr("KiB (ulimit -v)"), Not(HasSubstr("last calls"))));
}

TEST(ProgramTest, AConfigurationFromAPipeIsRefusedAndNotWaitedFor) {
  const std::string pipe = ::testing::TempDir() + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const ProgramResult result = RunProgram({.arguments = {"--config", pipe}});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(result.error, "error: --config: " + pipe + " is a FIFO; it must be a regular file\n");
}

TEST(ProgramTest, AnEmptyFlagIsNotLeftOut) {
  for (const std::string flag : {"--config=", "--device=", "--launch=", "--trace=", "--picture=",
                                 "--recipe=", "--cpu_target="}) {
    const ProgramResult result = RunProgram({.arguments = {"--dry_run", flag}});
    EXPECT_EQ(result.exit_code, 2) << flag;
    EXPECT_THAT(result.error, HasSubstr("error: " + flag.substr(0, flag.size() - 1) +
                                        " is empty; write " + flag));
  }
}

TEST(ProgramTest, ASignalEndsAWaitForTheLockThatSaysForWhom) {
  const std::filesystem::path cache = std::filesystem::path(::testing::TempDir()) / "locked";
  std::filesystem::create_directories(cache);
  const std::string lock = (cache / "fashion.lock").native();
  const int descriptor = open(lock.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  ASSERT_EQ(flock(descriptor, LOCK_EX), 0);
  constexpr std::string_view kHolder = "process 7 on mars\n";
  ASSERT_EQ(write(descriptor, kHolder.data(), kHolder.size()), kHolder.size());
  Program program(
      {.arguments = {"--set", "data.fashion_mnist.cache=" + (cache / "fashion").native()}});
  ASSERT_TRUE(program.WaitForOutput("waiting for process 7 on mars, which holds " + lock));
  program.Signal(SIGTERM);
  const ProgramResult result = program.Wait(absl::Seconds(10));
  close(descriptor);
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.error, HasSubstr("stopped by signal 15"));
}

TEST(ProgramTest, ASignalEndsThePreparationOfData) {
  Program program({});
  ASSERT_TRUE(program.WaitForOutput("preparing Fashion-MNIST"));
  program.Signal(SIGTERM);
  const ProgramResult result = program.Wait(absl::Seconds(10));
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.error, HasSubstr("the preparation of Fashion-MNIST was not finished"));
}

TEST(ProgramTest, ARunThatWasSuspendedForLongerThanItsDeadlineGoesOn) {
  Program program({.arguments = {"--recipe=mock_vlm_tiny", "--set", "train_steps=1000000", "--set",
                                 "collective_timeout_seconds=1"}});
  ASSERT_TRUE(program.WaitForOutput("iteration"));
  for (int i = 0; i < 2; ++i) {
    program.Signal(SIGSTOP);
    absl::SleepFor(absl::Seconds(1.5));
    program.Signal(SIGCONT);
    absl::SleepFor(absl::Milliseconds(200));
  }
  ASSERT_TRUE(program.Running()) << program.Error();
  program.Signal(SIGINT);
  const ProgramResult result = program.Wait(absl::Seconds(10));
  EXPECT_EQ(result.exit_code, 6);
  EXPECT_THAT(result.output, HasSubstr("RESULT steps="));
}

TEST(ProgramTest, OutputThatCannotBeWrittenIsFoundBeforeTraining) {
  const ProgramResult no_folder =
      RunProgram({.arguments = {"--recipe=mock_tiny", "--set", "logging.folder=/dev/null/runs"}});
  EXPECT_EQ(no_folder.exit_code, 2);
  EXPECT_THAT(no_folder.error, AllOf(HasSubstr("logging.folder"), HasSubstr("/dev/null/runs")));
  const ProgramResult no_trace =
      RunProgram({.arguments = {"--recipe=mock_tiny", "--trace=missing/trace.json"}});
  EXPECT_EQ(no_trace.exit_code, 2);
  EXPECT_THAT(no_trace.error, AllOf(HasSubstr("--trace"), HasSubstr("missing/trace.json")));
  EXPECT_THAT(no_trace.output, Not(HasSubstr("iteration")));
  const ProgramResult no_picture =
      RunProgram({.arguments = {"--recipe=mock_tiny", "--picture=missing/layout.svg"}});
  EXPECT_EQ(no_picture.exit_code, 2);
  EXPECT_THAT(no_picture.error, AllOf(HasSubstr("--picture"), HasSubstr("missing/layout.svg")));
  EXPECT_THAT(no_picture.output, Not(HasSubstr("iteration")));
}

// The limit on the size of files stands for a disk that fills up while the run goes on.
TEST(ProgramTest, WhatCannotBeWrittenLaterDoesNotLoseTheResult) {
  for (const std::string trace : {"", "trace.json"}) {
    std::vector<std::string> arguments = {"--recipe=mock_tiny", "--set", "train_steps=20", "--set",
                                          "logging.console_interval_steps=100"};
    // Above what else a run leaves.
    constexpr rlim_t kLimit = 6000;
    if (!trace.empty()) {
      arguments.insert(arguments.end(),
                       {"--set", "logging.event_interval_steps=100", "--trace", trace});
    }
    const ProgramResult result =
        RunProgram({.arguments = arguments, .before_start = [] {
                      const rlimit files = {.rlim_cur = kLimit, .rlim_max = kLimit};
                      if (setrlimit(RLIMIT_FSIZE, &files) != 0) _exit(127);
                    }});
    EXPECT_EQ(result.exit_code, 7) << result.error;
    EXPECT_THAT(result.output, HasSubstr("RESULT steps=20 "));
    EXPECT_THAT(result.error, HasSubstr(trace.empty() ? "events.out" : "trace.json"));
  }
}

}  // namespace
}  // namespace hetero
