#include "hetero/data/file/file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/file/shell_word.h"
#include "hetero/data/file/test_folder.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
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

TEST(FileTest, WhatIsNoRegularFileIsNamedAndNeverWaitedFor) {
  const std::filesystem::path folder = FreshFolder("kinds");
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
  const int socket_descriptor = socket(AF_UNIX, SOCK_STREAM, 0);
  // The path of a socket is short: it is bound inside its folder.
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  ASSERT_EQ(bind(socket_descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof address),
            0);
  std::filesystem::current_path(before);
  for (const auto& [path, kind] :
       {std::pair(folder / "fifo", "is a FIFO"), std::pair(folder, "is a folder"),
        std::pair(folder / "s", "is a socket"),
        std::pair(std::filesystem::path("/dev/null"), "is a device")}) {
    EXPECT_THAT(OpenFile(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                         AllOf(HasSubstr(path.native()), HasSubstr(kind))));
  }
  close(socket_descriptor);
}

TEST(FileTest, TheLimitOfOpenFilesIsCalledThat) {
  const std::filesystem::path path = FreshFolder("limit") / "shard.tar";
  ASSERT_THAT(WriteFileAtomically(path, "bytes"), IsOk());
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit low = {.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const absl::Status status = OpenFile(path).status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                               AllOf(HasSubstr("shard.tar"), HasSubstr("ulimit -n"))));
}

TEST(FileTest, AFileAboveTheLimitOnSizesIsOutOfResources) {
  const std::filesystem::path path = FreshFolder("limit") / "file";
  rlimit usual;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit small = {.rlim_cur = 1000, .rlim_max = usual.rlim_max};
  ASSERT_NE(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomically(path, std::string(5000, 'a'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &usual), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("limit/file")));
}

TEST(FileTest, WhatIsAppendedStandsBehindWhatWasThere) {
  const std::filesystem::path path = FreshFolder("append") / "log";
  ASSERT_THAT(AppendToFile(path, "one\n"), IsOk());
  ASSERT_THAT(AppendToFile(path, "two\n"), IsOk());
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("one\ntwo\n"));
  EXPECT_THAT(AppendToFile(path / "below", "x"),
              StatusIs(testing::_, HasSubstr((path / "below").native())));
}

// Half a line would be read as one.
TEST(FileTest, WhatCannotBeAppendedWholeIsNotThere) {
  const std::filesystem::path path = FreshFolder("append") / "log";
  ASSERT_THAT(AppendToFile(path, "one\n"), IsOk());
  rlimit usual;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit small = {.rlim_cur = 10, .rlim_max = usual.rlim_max};
  ASSERT_NE(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = AppendToFile(path, std::string(100, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &usual), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("append/log")));
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("one\n"));
}

TEST(FileTest, MemoryFileKeepsToItsWindow) {
  const MemoryFile file("abcdef", 100);
  std::string out(3, '\0');
  EXPECT_THAT(file.Read(103, out), IsOk());
  EXPECT_EQ(out, "def");
  EXPECT_THAT(file.Read(99, out), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(file.Read(104, out), StatusIs(absl::StatusCode::kDataLoss));
}

TEST(ShellWordTest, TheShellReadsTheNameBack) {
  for (const std::string name :
       {"parts/a-0.tar", "two words.tar", "it's.tar", "$(x)`y`\"z\\.tar", "-dash*.tar", ""}) {
    const std::string command = "printf %s " + ShellWord(name);
    FILE* const output = popen(command.c_str(), "r");
    std::string read(100, '\0');
    read.resize(fread(read.data(), 1, read.size(), output));
    EXPECT_EQ(pclose(output), 0);
    EXPECT_EQ(read, name);
  }
  EXPECT_EQ(ShellWord("parts/a-0.tar"), "parts/a-0.tar");
}

}  // namespace
}  // namespace hetero::data
