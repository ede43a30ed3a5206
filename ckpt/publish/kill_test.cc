// Runs that save in a folder of a real disk and are killed, at every call and at any time.
// --gtest_repeat=N multiplies the kills at random times: 20 a repetition.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/publisher.h"
#include "hetero/ckpt/publish/resume.h"
#include "hetero/ckpt/publish/testing/small_checkpoint.h"
#include "hetero/ckpt/publish/tracker.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::testing::AnyOf;

class KillTest : public ::testing::Test {
 protected:
  KillTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/kill.XXXXXX");
    folder_ = mkdtemp(name.data());
  }
  ~KillTest() override { fs::remove_all(folder_); }

  absl::StatusOr<std::unique_ptr<Publisher>> Open(Storage& storage) {
    return Publisher::Open(storage, folder_,
                           {.lease = {.run_id = "run"}, .retention = {.keep_last = 2}});
  }

  static absl::Status Save(Storage& storage, Publisher& publisher, int64_t iteration) {
    HETERO_ASSIGN_OR_RETURN(Staging staging, publisher.Begin(iteration, kSmallCheckpointBytes));
    HETERO_RETURN_IF_ERROR(
        WriteSmallCheckpoint(storage, staging.path(), iteration, staging.save_id()));
    HETERO_RETURN_IF_ERROR(publisher.Publish(std::move(staging)));
    return absl::OkStatus();
  }

  // The iteration that a run goes on from; -1 and a failed test when there is none.
  int64_t Resume() {
    PosixStorage storage;
    int64_t iteration = -1;
    const auto plan = PlanResume(storage, folder_, ReadTracker(storage, folder_).value(), {});
    EXPECT_THAT(plan, IsOk());
    if (!plan.ok()) return -1;
    const auto report = ResumeFrom(*plan, [&](const std::string& name) {
      const auto verified = VerifySmallCheckpoint(storage, folder_ / name);
      if (verified.ok()) iteration = *verified;
      return verified.status();
    });
    EXPECT_THAT(report, IsOk());
    if (report.ok()) {
      EXPECT_EQ(report->fallbacks, 0);
    }
    return iteration;
  }

  fs::path folder_;
};

TEST_F(KillTest, AtEveryCallOfASave) {
  PosixStorage disk;
  {
    const auto publisher = Open(disk);
    ASSERT_THAT(publisher, IsOk());
    for (const int64_t iteration : {5, 10}) ASSERT_THAT(Save(disk, **publisher, iteration), IsOk());
  }
  bool killed = true;
  int64_t iteration = 20;
  int64_t before = 10;
  for (int64_t n = 0; killed; ++n, iteration += 10) {
    const pid_t child = fork();
    if (child == 0) {
      FaultStorage storage(disk, n, {.kind = StorageFault::Kind::kSigkill});
      bool saved = false;
      if (const auto publisher = Open(storage); publisher.ok()) {
        saved = Save(storage, **publisher, iteration).ok();
      }
      _exit(saved ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    killed = WIFSIGNALED(status);
    if (!killed) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
    }
    const int64_t resumed = Resume();
    EXPECT_THAT(resumed, AnyOf(before, iteration)) << "killed at call " << n;
    before = resumed;
  }
  EXPECT_GT(iteration, 500);  // 30 calls at least
  EXPECT_EQ(before, iteration - 10);
}

TEST_F(KillTest, AtAnyTime) {
  std::mt19937_64 generator = FreshGenerator();
  int64_t before = -1;
  for (int run = 0; run < 20; ++run) {
    int reported[2];
    ASSERT_EQ(pipe(reported), 0);
    const pid_t child = fork();
    if (child == 0) {
      close(reported[0]);
      PosixStorage storage;
      const auto publisher = Open(storage);
      if (!publisher.ok()) {
        fprintf(stderr, "%s\n", publisher.status().ToString().c_str());
        _exit(1);
      }
      for (int64_t iteration = std::max<int64_t>(before, 0) + 10;; iteration += 10) {
        const absl::Status saved = Save(storage, **publisher, iteration);
        if (!saved.ok() || write(reported[1], &iteration, sizeof(iteration)) < 0) {
          fprintf(stderr, "%s\n", saved.ToString().c_str());
          _exit(1);
        }
      }
    }
    close(reported[1]);
    // The first run publishes at least one, so that all later ones have something to lose.
    int64_t last = before;
    if (run == 0) {
      ASSERT_EQ(read(reported[0], &last, sizeof(last)), sizeof(last));
    }
    usleep(generator() % 60000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "run " << run;
    for (int64_t iteration; read(reported[0], &iteration, sizeof(iteration)) > 0;) last = iteration;
    close(reported[0]);
    const int64_t resumed = Resume();
    EXPECT_GE(resumed, last) << "run " << run;
    EXPECT_LE(resumed, last + 10) << "run " << run;
    before = resumed;
  }
  PosixStorage storage;
  const auto publisher = Open(storage);
  ASSERT_THAT(publisher, IsOk());
  (*publisher)->AwaitDeletions();
  ASSERT_THAT(Save(storage, **publisher, before + 10), IsOk());
}

}  // namespace
}  // namespace hetero
