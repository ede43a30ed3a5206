#include "hetero/data/file/file.h"

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(FileTest, WritesAcrossTheBufferComeBackWhole) {
  const std::filesystem::path path = FreshFolder("whole") / "file";
  std::string expected;
  FileWriter writer = FileWriter::Create(path).value();
  for (const size_t size : {size_t{1}, size_t{700'000}, size_t{700'000}, size_t{3'000'000}}) {
    const std::string piece(size, static_cast<char>('a' + size % 7));
    ASSERT_THAT(writer.Write(piece), IsOk());
    expected += piece;
    EXPECT_EQ(writer.position(), expected.size());
  }
  ASSERT_THAT(writer.Close(), IsOk());
  EXPECT_THAT(ReadFile(path), IsOkAndHolds(expected));
}

TEST(FileTest, AtomicWriteReplacesAndLeavesNoTemporaryName) {
  const std::filesystem::path folder = FreshFolder("atomic");
  ASSERT_THAT(WriteFileAtomically(folder / "a", "first"), IsOk());
  ASSERT_THAT(WriteFileAtomically(folder / "a", "second"), IsOk());
  EXPECT_THAT(ReadFile(folder / "a"), IsOkAndHolds("second"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST(FileTest, ReadingPastTheEndNamesTheFileAndTheBytes) {
  const std::filesystem::path path = FreshFolder("short") / "shard.tar";
  ASSERT_THAT(WriteFileAtomically(path, "0123456789"), IsOk());
  const auto file = OpenFile(path).value();
  std::string out(8, '\0');
  EXPECT_THAT(file->Read(2, out), IsOk());
  EXPECT_EQ(out, "23456789");
  EXPECT_THAT(file->Read(5, out),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("shard.tar ends at byte 10")));
}

TEST(FileTest, MissingFileAndFolderAreErrorsWithThePath) {
  const std::filesystem::path folder = FreshFolder("missing");
  EXPECT_THAT(OpenFile(folder / "no"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no")));
  EXPECT_THAT(OpenFile(folder), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(FileTest, MemoryFileKeepsToItsWindow) {
  const MemoryFile file("abcdef", 100);
  std::string out(3, '\0');
  EXPECT_THAT(file.Read(103, out), IsOk());
  EXPECT_EQ(out, "def");
  EXPECT_THAT(file.Read(99, out), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(file.Read(104, out), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(FileLockTest, HoldersExcludeEachOther) {
  const std::filesystem::path path = FreshFolder("lock") / "lock";
  std::atomic<int> inside = 0;
  std::atomic<bool> overlapped = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
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

}  // namespace
}  // namespace hetero::data
