#include "hetero/ckpt/publish/lease.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A clock that all runs of a test share, and no threads.
class LeaseTest : public ::testing::Test {
 protected:
  LeaseOptions Options(std::string run_id) {
    return {.run_id = std::move(run_id), .beat_every = absl::InfiniteDuration(), .now = [this] {
              return now_;
            }};
  }

  absl::StatusOr<std::unique_ptr<Lease>> Acquire(std::string run_id) {
    return Lease::Acquire(storage_, "/", Options(std::move(run_id)));
  }

  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  MemoryStorage storage_;
};

TEST_F(LeaseTest, TheSecondRunIsToldWhoSaves) {
  const auto first = Acquire("first");
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(
      Acquire("second"),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               AllOf(HasSubstr("run \"first\""), HasSubstr(absl::StrCat("process ", getpid())),
                     HasSubstr(absl::StrCat("host ", ThisProcess().host)), HasSubstr("2m"))));
  EXPECT_THAT((*first)->Check(), IsOk());
}

TEST_F(LeaseTest, GivenBackItLeavesNothing) {
  for (const std::string run : {"first", "second"}) EXPECT_THAT(Acquire(run), IsOk());
  EXPECT_THAT(*storage_.List("/"), IsEmpty());
}

TEST_F(LeaseTest, BeatsKeepItAndSilenceLosesIt) {
  auto first = Acquire("first");
  ASSERT_THAT(first, IsOk());
  for (int i = 0; i < 5; ++i) {
    now_ += absl::Seconds(90);
    ASSERT_THAT((*first)->Check(), IsOk());
    EXPECT_THAT(Acquire("second"), StatusIs(absl::StatusCode::kFailedPrecondition));
  }
  now_ += absl::Seconds(121);
  const auto second = Acquire("second");
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT((*first)->Check(), StatusIs(absl::StatusCode::kAborted,
                                          AllOf(HasSubstr("\"first\""), HasSubstr("\"second\""))));
  first->reset();  // Takes nothing with it.
  EXPECT_THAT((*second)->Check(), IsOk());
  EXPECT_THAT(Acquire("third"), StatusIs(absl::StatusCode::kFailedPrecondition));
}

// A holder that wakes up at any moment of a takeover, and a run that is faster at any moment of it.
TEST_F(LeaseTest, AtNoMomentOfATakeoverTwoRunsSave) {
  for (const bool holder_wakes : {true, false}) {
    bool reached = true;
    int64_t takeovers = 0;
    for (int64_t moment = 0; reached; ++moment) {
      MemoryStorage disk;
      auto holder = Lease::Acquire(disk, "/", Options("holder"));
      ASSERT_THAT(holder, IsOk());
      now_ += absl::Minutes(10);
      reached = false;
      int64_t calls = 0;
      absl::Status woken;
      absl::StatusOr<std::unique_ptr<Lease>> faster = absl::CancelledError();
      FaultStorage slow(disk, [&](const StorageCall&) -> StorageFault {
        if (calls++ == moment) {
          reached = true;
          if (holder_wakes) {
            woken = (*holder)->Check();
          } else {
            faster = Lease::Acquire(disk, "/", Options("faster"));
          }
        }
        return {};
      });
      const auto taken = Lease::Acquire(slow, "/", Options("slow"));
      if (!reached) break;
      takeovers += taken.ok();
      int holders = 0;
      if (taken.ok()) holders += (*taken)->Check().ok();
      if (faster.ok()) holders += (*faster)->Check().ok();
      holders += (*holder)->Check().ok();
      EXPECT_LE(holders, 1) << "moment " << moment << ": " << woken << ", " << taken.status();
      // Who was told in the midst of it that it saves saves on.
      if (holder_wakes && woken.ok()) {
        EXPECT_FALSE(taken.ok()) << "moment " << moment;
      }
      if (!holder_wakes && faster.ok()) {
        EXPECT_FALSE(taken.ok()) << "moment " << moment;
        EXPECT_THAT((*faster)->Check(), IsOk()) << "moment " << moment;
      }
    }
    EXPECT_GT(takeovers, 0);
  }
}

TEST_F(LeaseTest, ALeaseThatNobodyCanReadIsNamed) {
  ASSERT_THAT(WriteText(storage_, "/.lease", "{\"run_id\": 3}"), IsOk());
  EXPECT_THAT(Acquire("run"), StatusIs(absl::StatusCode::kDataLoss,
                                       AllOf(HasSubstr("/.lease"), HasSubstr("remove"))));
}

TEST_F(LeaseTest, ProcessesOfOtherMachinesAndContainersAreNotTakenForDead) {
  ProcessMark mark = ThisProcess();
  EXPECT_FALSE(HasEnded(mark));
  ProcessMark earlier = mark;
  earlier.process_start = "1";
  EXPECT_TRUE(HasEnded(earlier));  // its number is another process's by now
  ProcessMark elsewhere = earlier;
  elsewhere.boot_id = "another";
  EXPECT_FALSE(HasEnded(elsewhere));
  elsewhere = earlier;
  elsewhere.pid_namespace = "pid:[1]";
  EXPECT_FALSE(HasEnded(elsewhere));
}

class ProcessesTest : public ::testing::Test {
 protected:
  ProcessesTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/lease.XXXXXX");
    folder_ = mkdtemp(name.data());
  }

  // Runs `body` in a child process and ends it.
  static pid_t Start(const std::function<void()>& body) {
    const pid_t child = fork();
    if (child != 0) return child;
    body();
    _exit(0);
  }

  // A process that holds the lease and is killed.
  void LeaveLease(bool reap) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = Start([&] {
      PosixStorage storage;
      const auto lease = Lease::Acquire(storage, folder_, {.run_id = "killed"});
      if (write(ready[1], "x", 1) == 1 && lease.ok()) pause();
    });
    char byte;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    siginfo_t info;
    waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    if (reap) waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);
  }

  fs::path folder_;
};

TEST_F(ProcessesTest, AKilledHolderIsSucceededAtOnce) {
  PosixStorage storage;
  for (const bool reap : {true, false}) {
    LeaveLease(reap);
    EXPECT_TRUE(storage.Exists(folder_ / kLeaseName));
    EXPECT_THAT(Lease::Acquire(storage, folder_, {.run_id = "next"}), IsOk());
  }
}

TEST_F(ProcessesTest, OfManyThatRaceOneWins) {
  constexpr int kProcesses = 32;
  for (const bool after_a_dead_run : {false, true, true}) {
    if (after_a_dead_run) LeaveLease(true);
    int start[2];
    int results[2];
    int end[2];
    ASSERT_EQ(pipe(start), 0);
    ASSERT_EQ(pipe(results), 0);
    ASSERT_EQ(pipe(end), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < kProcesses; ++i) {
      children.push_back(Start([&] {
        close(start[1]);
        close(end[1]);
        char byte;
        PosixStorage storage;
        if (read(start[0], &byte, 1) != 0) return;
        const auto lease = Lease::Acquire(
            storage, folder_, {.run_id = "racer", .beat_every = absl::InfiniteDuration()});
        byte = lease.ok() ? 'w' : absl::IsFailedPrecondition(lease.status()) ? 'l' : '?';
        if (byte == '?') fprintf(stderr, "%s\n", lease.status().ToString().c_str());
        if (write(results[1], &byte, 1) != 1) return;
        // The winner stays until all have tried.
        if (read(end[0], &byte, 1) != 0) return;
      }));
    }
    close(start[1]);
    std::string outcome(kProcesses, ' ');
    for (char& byte : outcome) ASSERT_EQ(read(results[0], &byte, 1), 1);
    close(end[1]);
    for (const pid_t child : children) waitpid(child, nullptr, 0);
    for (const int descriptor : {start[0], results[0], results[1], end[0]}) close(descriptor);
    EXPECT_EQ(std::count(outcome.begin(), outcome.end(), 'w'), 1) << outcome;
    EXPECT_EQ(std::count(outcome.begin(), outcome.end(), 'l'), kProcesses - 1) << outcome;
  }
}

}  // namespace
}  // namespace hetero
