#include "hetero/ckpt/storage/testing/crash_storage.h"

#include <functional>
#include <random>
#include <set>
#include <string>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::UnorderedElementsAre;

constexpr int64_t kAll = int64_t{1} << 20;

// A storage that durably holds /f with "old".
internal::MemoryDisk OldFile() {
  internal::MemoryDisk disk;
  disk.nodes[0].names["f"] = 1;
  disk.nodes.push_back({.bytes = "old"});
  return disk;
}

// All that /f can read as after a crash; "none" where there is no such file.
std::set<std::string> After(CrashStorage& storage, std::string_view mark = "") {
  std::mt19937_64 generator = FreshGenerator();
  std::set<std::string> texts;
  storage.ForEachCrash(kAll, generator, [&](const CrashStorage::Crash& crash) {
    if (!mark.empty() && (crash.marks.empty() || crash.marks.back() != mark)) return;
    texts.insert(ReadText(crash.disk, "/f").value_or("none"));
  });
  return texts;
}

TEST(CrashStorageTest, BytesLastToTheSyncOfTheFile) {
  CrashStorage storage(OldFile());
  auto file = storage.Create("/f");
  ASSERT_THAT((*file)->Write(0, AsBytes("ab")), IsOk());
  ASSERT_THAT((*file)->Write(2, AsBytes("cd")), IsOk());
  storage.Mark("written");
  EXPECT_THAT(After(storage), UnorderedElementsAre("old", "", "ab", "abcd"));
  ASSERT_THAT((*file)->Sync(), IsOk());
  storage.Mark("synced");
  EXPECT_THAT(After(storage, "synced"), UnorderedElementsAre("abcd"));
}

TEST(CrashStorageTest, NamesLastToTheSyncOfTheirFolder) {
  CrashStorage storage;
  ASSERT_THAT(WriteText(storage, "/g", "text"), IsOk());
  ASSERT_THAT(storage.Rename("/g", "/f", RenameMode::kReplace), IsOk());
  storage.Mark("renamed");
  EXPECT_THAT(After(storage, "renamed"), UnorderedElementsAre("none", "text"));
  ASSERT_THAT(storage.SyncDirectory("/"), IsOk());
  storage.Mark("synced");
  EXPECT_THAT(After(storage, "synced"), UnorderedElementsAre("text"));
}

TEST(CrashStorageTest, ReplacedTextIsOldOrNewAndLaterNew) {
  CrashStorage storage(OldFile());
  ASSERT_THAT(ReplaceText(storage, "/f", "new"), IsOk());
  storage.Mark("replaced");
  EXPECT_THAT(After(storage), UnorderedElementsAre("old", "new"));
  EXPECT_THAT(After(storage, "replaced"), UnorderedElementsAre("new"));
}

TEST(CrashStorageTest, AFileWrittenInPlaceCanBeEmptyAfterwards) {
  CrashStorage storage(OldFile());
  ASSERT_THAT(WriteText(storage, "/f", "new"), IsOk());
  EXPECT_THAT(After(storage), UnorderedElementsAre("old", "", "new"));
}

TEST(CrashStorageTest, ManyStatesAreDrawnWithBothEnds) {
  CrashStorage storage;
  for (char name = 'a'; name <= 'z'; ++name) {
    ASSERT_THAT(WriteText(storage, std::string("/") + name, "x"), IsOk());
  }
  std::mt19937_64 generator = FreshGenerator();
  std::set<size_t> counts;
  int64_t at_end = 0;
  storage.Mark("end");
  storage.ForEachCrash(50, generator, [&](const CrashStorage::Crash& crash) {
    if (crash.marks.empty()) return;
    ++at_end;
    counts.insert(crash.disk.List("/")->size());
  });
  EXPECT_EQ(at_end, 100);  // at the mark and at the end of the log
  EXPECT_EQ(*counts.begin(), 0);
  EXPECT_EQ(*counts.rbegin(), 26);
}

}  // namespace
}  // namespace hetero
