#include "hetero/trainer/checkpoint/load_source.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/testing/changed_recipe.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Committed as far as lists of them look.
void AddCheckpoints(Storage& storage, const std::filesystem::path& folder,
                    const std::vector<int64_t>& iterations) {
  for (const int64_t iteration : iterations) {
    const std::filesystem::path path = folder / IterationName(iteration);
    ASSERT_THAT(storage.MakeDirectory(path), IsOk());
    ASSERT_THAT(WriteText(storage, path / "manifest.json", "{}"), IsOk());
    ASSERT_THAT(WriteText(storage, path / "COMMIT", "x"), IsOk());
  }
  ASSERT_THAT(WriteText(storage, folder / kTrackerName, absl::StrCat(iterations.back())), IsOk());
}

proto::RunConfig Config(std::vector<std::string_view> assignments) {
  assignments.push_back("logging.folder=runs/a");
  return Resolve(ChangedRecipe("mock_tiny", assignments));
}

absl::StatusOr<LoadSource> Find(Storage& storage,
                                const std::vector<std::string_view>& assignments) {
  return FindLoadSource(storage, Config(assignments), "/home");
}

TEST(LoadSourceTest, TheNewestRunThatSavedIsTheLatest) {
  MemoryStorage storage;
  EXPECT_FALSE(FindLatest(storage, "/home/runs/a").has_value());
  EXPECT_THAT(Find(storage, {"checkpoint.load.folder=latest"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("below runs/a")));
  AddCheckpoints(storage, "/home/runs/a/2026-11-29_01-00-00/checkpoints", {10, 20});
  AddCheckpoints(storage, "/home/runs/a/2026-11-29_02-00-00/checkpoints", {5});
  ASSERT_THAT(storage.MakeDirectory("/home/runs/a/2026-11-29_03-00-00"), IsOk());
  const auto source = Find(storage, {"checkpoint.load.folder=latest"});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(source->folder, "/home/runs/a/2026-11-29_02-00-00/checkpoints");
  EXPECT_THAT(source->plan.candidates, ElementsAre("iter_0000005"));
}

TEST(LoadSourceTest, AFolderThatIsSavedInIsTheLatestToo) {
  MemoryStorage storage;
  AddCheckpoints(storage, "/home/runs/a/2026-11-29_01-00-00/checkpoints", {10});
  AddCheckpoints(storage, "/home/mine", {30});
  const auto source =
      Find(storage, {"checkpoint.load.folder=latest", "checkpoint.save.folder=mine"});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ(source->folder, "/home/mine");
  EXPECT_THAT(Find(storage, {"checkpoint.load.folder=latest", "checkpoint.save.folder=other"}),
              StatusIs(absl::StatusCode::kNotFound));
  const auto fresh = Find(storage, {"checkpoint.load={folder: \"latest\" allow_fresh_start: true}",
                                    "checkpoint.save.folder=other"});
  ASSERT_THAT(fresh, IsOk());
  EXPECT_THAT(fresh->plan.candidates, IsEmpty());
}

TEST(LoadSourceTest, AFolderOfARunOrOneCheckpointMayBeNamed) {
  MemoryStorage storage;
  AddCheckpoints(storage, "/home/run/checkpoints", {10, 20});
  for (const std::string_view folder : {"run", "run/", "run/checkpoints", "run/checkpoints/"}) {
    const std::string assignment = absl::StrCat("checkpoint.load.folder=", folder);
    const auto source = Find(storage, {assignment});
    ASSERT_THAT(source, IsOk()) << folder;
    EXPECT_EQ(source->folder, "/home/run/checkpoints");
    EXPECT_THAT(source->plan.candidates, ElementsAre("iter_0000020", "iter_0000010"));
  }
  const auto one = Find(storage, {"checkpoint.load.folder=/home/run/checkpoints/iter_0000010"});
  ASSERT_THAT(one, IsOk());
  EXPECT_THAT(one->plan.candidates, ElementsAre("iter_0000010"));
  const auto by_number = Find(storage, {"checkpoint.load={folder: \"run\" iteration: 10}"});
  ASSERT_THAT(by_number, IsOk());
  EXPECT_THAT(by_number->plan.candidates, ElementsAre("iter_0000010"));
}

TEST(LoadSourceTest, WhatIsNotThereIsNamedWithWhatIs) {
  MemoryStorage storage;
  AddCheckpoints(storage, "/home/mine", {10, 20});
  EXPECT_THAT(Find(storage, {"checkpoint.load={folder: \"mine\" iteration: 15}"}),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("iteration 15"), HasSubstr("there are 10, 20"))));
  EXPECT_THAT(Find(storage, {"checkpoint.load.folder=yours"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/home/yours")));
}

// The tracker's own is gone: the one before is what is left to try.
TEST(LoadSourceTest, ACheckpointThatIsGoneIsPassedOver) {
  MemoryStorage storage;
  AddCheckpoints(storage, "/home/mine", {10, 20});
  ASSERT_THAT(storage.RemoveTree("/home/mine/iter_0000020"), IsOk());
  const auto source = Find(storage, {"checkpoint.load.folder=mine"});
  ASSERT_THAT(source, IsOk());
  EXPECT_THAT(source->plan.candidates, ElementsAre("iter_0000020", "iter_0000010"));
  EXPECT_EQ(source->leases.size(), 1u);
}

}  // namespace
}  // namespace hetero
