#include "hetero/data/file/file_lock.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/file.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(FileLockTest, HoldersExcludeEachOther) {
  const std::filesystem::path path = FreshFolder("exclusive") / "lock";
  std::atomic<int> inside = 0;
  std::atomic<bool> overlapped = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) {
        const auto lock = FileLock::Acquire(path);
        if (inside.fetch_add(1) != 0) overlapped = true;
        std::this_thread::yield();
        inside.fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(overlapped);
}

TEST(FileLockTest, WhoWaitsSaysForWhomAndGoesOnWhenItIsFree) {
  const std::filesystem::path path = FreshFolder("waiting") / "lock";
  absl::Notification told;
  std::vector<std::string> lines;
  std::thread waiter;
  {
    const auto held = FileLock::Acquire(path);
    ASSERT_THAT(held, IsOk());
    waiter = std::thread([&] {
      EXPECT_THAT(FileLock::Acquire(path, {.message =
                                               [&](std::string_view line) {
                                                 lines.emplace_back(line);
                                                 told.Notify();
                                               }}),
                  IsOk());
    });
    told.WaitForNotification();
  }
  waiter.join();
  EXPECT_THAT(lines, ElementsAre(AllOf(HasSubstr(absl::StrCat("process ", getpid(), " on ")),
                                       HasSubstr(path.native()))));
  EXPECT_THAT(ReadFile(path), IsOkAndHolds(""));
}

TEST(FileLockTest, AWaitEndsWhenTheUserWantsIt) {
  const std::filesystem::path path = FreshFolder("stopped") / "lock";
  const auto held = FileLock::Acquire(path);
  std::atomic<bool> stop = false;
  EXPECT_THAT(FileLock::Acquire(path, {.stop_requested = [&] { return stop.load(); },
                                       .message = [&](std::string_view) { stop = true; }}),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr(path.native())));
}

}  // namespace
}  // namespace hetero::data
