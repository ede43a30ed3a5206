#include "hetero/telemetry/snapshot_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(SnapshotFileTest, AReaderSeesAWholeTextAndInTheEndTheLast) {
  const std::string path = ::testing::TempDir() + "/snapshot";
  auto file = SnapshotFile::Create(path);
  ASSERT_THAT(file, IsOk());
  for (int i = 0; i < 200; ++i) {
    (*file)->Replace(std::string(5000, static_cast<char>('a' + i % 26)));
    if (!std::filesystem::exists(path)) continue;
    const std::string seen = ReadFile(path);
    ASSERT_EQ(seen.size(), 5000u);
    ASSERT_EQ(seen.find_first_not_of(seen[0]), std::string::npos);
  }
  (*file)->Replace("last");
  EXPECT_THAT((*file)->Close(), IsOk());
  EXPECT_EQ(ReadFile(path), "last");
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
}

TEST(SnapshotFileTest, NamesTheFileThatItCannotWrite) {
  const std::string path = ::testing::TempDir() + "/no/folder/snapshot";
  auto file = SnapshotFile::Create(path);
  ASSERT_THAT(file, IsOk());
  (*file)->Replace("x");
  EXPECT_THAT((*file)->Close(), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr(path)));
}

}  // namespace
}  // namespace hetero
