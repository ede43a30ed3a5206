#include "hetero/trainer/run_folder.h"

#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

namespace fs = std::filesystem;

const absl::Time kNow = absl::FromUnixMicros(1700000000'012345);  // 2023-11-14 22:13:20 UTC

fs::path Fresh(const std::string& name) {
  const fs::path folder = fs::path(::testing::TempDir()) / name;
  fs::remove_all(folder);
  return folder;
}

TEST(RunFolderTest, NamesAreTimesAndThenNumbers) {
  const fs::path parent = Fresh("runs") / "recipe";
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i) {
    absl::StatusOr<RunFolder> folder = RunFolder::Create(parent, kNow, absl::UTCTimeZone());
    ASSERT_THAT(folder, IsOk());
    EXPECT_EQ(folder->path().parent_path(), parent);
    EXPECT_TRUE(fs::is_directory(folder->path()));
    names.push_back(folder->path().filename());
    folder->Keep();
  }
  EXPECT_THAT(names,
              ElementsAre("2023-11-14_22-13-20", "2023-11-14_22-13-20.1", "2023-11-14_22-13-20.2"));
}

TEST(RunFolderTest, RunsThatStartTogetherShareNone) {
  const fs::path parent = Fresh("together");
  std::vector<fs::path> folders(32);
  std::vector<std::thread> runs;
  for (fs::path& folder : folders) {
    runs.emplace_back([&] {
      RunFolder made = RunFolder::Create(parent, kNow).value();
      folder = made.path();
      made.Keep();
    });
  }
  for (std::thread& run : runs) run.join();
  EXPECT_EQ(std::set(folders.begin(), folders.end()).size(), folders.size());
}

TEST(RunFolderTest, OneThatIsNotKeptIsTakenAwayWithTheFoldersMadeForIt) {
  const fs::path there = Fresh("there");
  fs::create_directories(there);
  {
    const RunFolder folder = RunFolder::Create(there / "runs" / "recipe", kNow).value();
    std::ofstream(folder.path() / "console.log") << "a line";
  }
  EXPECT_TRUE(fs::is_empty(there));
  fs::path kept;
  {
    RunFolder first = RunFolder::Create(there / "runs", kNow).value();
    const RunFolder second = RunFolder::Create(there / "runs", kNow).value();
    first.Keep();
    kept = first.path();
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(there / "runs"), {}), 1);
  EXPECT_TRUE(fs::is_directory(kept));
}

TEST(RunFolderTest, AFileInTheWayIsNamed) {
  const fs::path file = Fresh("file");
  std::ofstream(file) << "taken";
  const auto folder = RunFolder::Create(file / "recipe", kNow);
  ASSERT_THAT(folder, Not(IsOk()));
  EXPECT_THAT(std::string(folder.status().message()), HasSubstr((file / "recipe").native()));
}

}  // namespace
}  // namespace hetero
