// What follows from errors of system calls, which are made up here.

#include "hetero/ckpt/storage/posix_storage.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/log_severity.h"
#include "absl/log/scoped_mock_log.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;

int Fail(int error) {
  errno = error;
  return -1;
}

class PosixStorageTest : public ::testing::Test {
 protected:
  PosixStorageTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/posix.XXXXXX");
    path_ = fs::path(mkdtemp(name.data())) / "f";
    // More than a direct transfer of whole blocks, at an address that suits one.
    memory_ = static_cast<char*>(std::aligned_alloc(kDirectAlignment, 1 << 20));
    for (int i = 0; i < (1 << 20); ++i) memory_[i] = static_cast<char>(i * 2654435761u >> 24);
    text_ = std::string_view(memory_, 600001);
  }
  ~PosixStorageTest() override { std::free(memory_); }

  absl::Status WriteIt() { return WriteText(storage_, path_, text_); }

  fs::path path_;
  char* memory_;
  std::string_view text_;
  std::shared_ptr<internal::PosixCalls> calls_ = std::make_shared<internal::PosixCalls>();
  PosixStorage storage_{calls_};
};

TEST_F(PosixStorageTest, ShortTransfersAreContinued) {
  calls_->pwrite = [](int descriptor, const void* bytes, size_t count, off_t offset) {
    return ::pwrite(descriptor, bytes, std::min<size_t>(count, 100000), offset);
  };
  calls_->pread = [](int descriptor, void* bytes, size_t count, off_t offset) {
    return ::pread(descriptor, bytes, std::min<size_t>(count, 4099), offset);
  };
  // The first direct transfer ends within a block, so the rest has to go through the page cache.
  ASSERT_THAT(WriteIt(), IsOk());
  EXPECT_THAT(ReadText(storage_, path_), IsOkAndHolds(text_));
}

TEST_F(PosixStorageTest, InterruptedCallsAreMadeAgain) {
  int calls = 0;
  calls_->pwrite = [&](int descriptor, const void* bytes, size_t count, off_t offset) {
    return calls++ % 2 == 0 ? Fail(EINTR) : ::pwrite(descriptor, bytes, count, offset);
  };
  ASSERT_THAT(WriteIt(), IsOk());
  EXPECT_THAT(ReadText(storage_, path_), IsOkAndHolds(text_));
}

TEST_F(PosixStorageTest, WithoutDirectTransfersThePageCacheServesAndOneLineSaysSo) {
  for (const bool when_opened : {true, false}) {
    auto calls = std::make_shared<internal::PosixCalls>();
    std::set<int> direct;
    calls->open = [&](const char* path, int flags, mode_t mode) {
      if ((flags & O_DIRECT) == 0) return ::open(path, flags, mode);
      if (when_opened) return Fail(EINVAL);
      // A file system that takes the flag and refuses the transfer.
      const int descriptor = ::open(path, flags & ~O_DIRECT, mode);
      direct.insert(descriptor);
      return descriptor;
    };
    calls->pwrite = [&](int descriptor, const void* bytes, size_t count, off_t offset) -> ssize_t {
      if (direct.contains(descriptor)) return Fail(EINVAL);
      return ::pwrite(descriptor, bytes, count, offset);
    };
    calls->pread = [&](int descriptor, void* bytes, size_t count, off_t offset) -> ssize_t {
      if (direct.contains(descriptor)) return Fail(EINVAL);
      return ::pread(descriptor, bytes, count, offset);
    };
    PosixStorage storage(calls);
    absl::ScopedMockLog log;
    EXPECT_CALL(log, Log(absl::LogSeverity::kInfo, _, HasSubstr("no direct transfers"))).Times(1);
    log.StartCapturingLogs();
    for (const std::string name : {"one", "two"}) {
      ASSERT_THAT(WriteText(storage, path_.parent_path() / name, text_), IsOk());
      direct.clear();
      const auto file = storage.Open(path_.parent_path() / name);
      std::vector<std::byte> memory(text_.size() + kDirectAlignment);
      std::byte* at = memory.data();
      while (reinterpret_cast<intptr_t>(at) % kDirectAlignment != 0) ++at;
      ASSERT_THAT((*file)->Read(0, {at, text_.size()}), IsOk());
      EXPECT_EQ(std::string_view(reinterpret_cast<char*>(at), text_.size()), text_);
      direct.clear();
    }
  }
}

TEST_F(PosixStorageTest, WithoutFallocateTheFileIsMadeLongAndAFullDiskShowsInWrite) {
  calls_->fallocate = [](int, off_t, off_t) { return Fail(EOPNOTSUPP); };
  auto file = storage_.Create(path_);
  ASSERT_THAT((*file)->Allocate(12345), IsOk());
  EXPECT_EQ(fs::file_size(path_), 12345);
  calls_->pwrite = [](int, const void*, size_t, off_t) -> ssize_t { return Fail(ENOSPC); };
  EXPECT_THAT((*file)->Write(7, AsBytes("abc")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr(path_.native()), HasSubstr("3 bytes at 7"),
                             HasSubstr("No space left on device"))));
}

TEST_F(PosixStorageTest, AFullDiskShowsInAllocate) {
  for (const int error : {ENOSPC, EDQUOT}) {
    calls_->fallocate = [&](int, off_t, off_t) { return Fail(error); };
    auto file = storage_.Create(path_);
    EXPECT_THAT((*file)->Allocate(12345),
                StatusIs(absl::StatusCode::kResourceExhausted,
                         AllOf(HasSubstr(path_.native()), HasSubstr("12345 bytes"),
                               HasSubstr(std::strerror(error)))));
  }
}

TEST_F(PosixStorageTest, AFileThatCouldNotBeFlushedIsNeverTrustedAgain) {
  int failures = 1;
  calls_->fdatasync = [&](int descriptor) {
    return failures-- > 0 ? Fail(EIO) : ::fdatasync(descriptor);
  };
  auto file = storage_.Create(path_);
  ASSERT_THAT((*file)->Write(0, AsBytes("abc")), IsOk());
  EXPECT_THAT((*file)->Sync(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr(path_.native()), HasSubstr("Input/output error"))));
  EXPECT_THAT((*file)->Sync(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_.native())));
  EXPECT_THAT((*file)->Close(), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(failures, 0);  // The system was not asked a second time.
}

TEST_F(PosixStorageTest, AReadThatTheDeviceFailsIsTriedOnceMore) {
  ASSERT_THAT(WriteIt(), IsOk());
  int failures = 1;
  calls_->pread = [&](int descriptor, void* bytes, size_t count, off_t offset) -> ssize_t {
    return failures-- > 0 ? Fail(EIO) : ::pread(descriptor, bytes, count, offset);
  };
  absl::ScopedMockLog log;
  EXPECT_CALL(log, Log(absl::LogSeverity::kWarning, _,
                       AllOf(HasSubstr(path_.native()), HasSubstr("trying once more"))))
      .Times(2);
  log.StartCapturingLogs();
  EXPECT_THAT(ReadText(storage_, path_), IsOkAndHolds(text_));
  failures = 2;
  EXPECT_THAT(ReadText(storage_, path_),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr(path_.native()), HasSubstr("at 0"),
                             HasSubstr("Input/output error"))));
}

TEST_F(PosixStorageTest, AFileThatShrinksWhileItIsReadIsAnErrorWithBothSizes) {
  ASSERT_THAT(WriteIt(), IsOk());
  auto file = storage_.Open(path_);
  ASSERT_EQ(::truncate(path_.c_str(), 1000), 0);
  std::vector<std::byte> out(2000);
  EXPECT_THAT((*file)->Read(500, out),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("ends at 1000"), HasSubstr("had 600001 bytes"))));
}

TEST_F(PosixStorageTest, WithoutNewerRenamesNothingIsReplacedAndAnExchangeIsRefused) {
  calls_->renameat2 = [](const char*, const char*, unsigned) { return Fail(EINVAL); };
  const fs::path root = path_.parent_path();
  for (const std::string name : {"a", "b"}) {
    ASSERT_THAT(storage_.MakeDirectory(root / name), IsOk());
    ASSERT_THAT(WriteText(storage_, root / name / "in", name), IsOk());
    ASSERT_THAT(WriteText(storage_, root / (name + ".txt"), name), IsOk());
  }
  EXPECT_THAT(storage_.Rename(root / "a", root / "b", RenameMode::kNoReplace),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(storage_.Rename(root / "a.txt", root / "b.txt", RenameMode::kNoReplace),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(storage_.Rename(root / "a", root / "b", RenameMode::kExchange),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("does not exchange names")));
  EXPECT_THAT(storage_.Rename(root / "a", root / "c", RenameMode::kNoReplace), IsOk());
  EXPECT_THAT(storage_.Rename(root / "a.txt", root / "c.txt", RenameMode::kNoReplace), IsOk());
  EXPECT_FALSE(fs::exists(root / "a.txt"));
}

TEST_F(PosixStorageTest, WithoutHardLinksAnExclusiveFileIsStillWhole) {
  calls_->link = [](const char*, const char*) { return Fail(EPERM); };
  EXPECT_THAT(storage_.CreateExclusive(path_, "first"), IsOk());
  EXPECT_THAT(storage_.CreateExclusive(path_, "second"),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(ReadText(storage_, path_), IsOkAndHolds("first"));
  EXPECT_EQ(storage_.List(path_.parent_path())->size(), 1);
}

}  // namespace
}  // namespace hetero
