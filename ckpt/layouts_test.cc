// Saved under one layout, loaded under another: every element is where it was.

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// All ranks of a layout with the pattern, or with what a load gives them.
absl::Status SavePattern(Storage& storage, const ModelLayout& layout, const std::string& directory,
                         int shift) {
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(directory));
  HETERO_RETURN_IF_ERROR(RunWorld(layout.num_ranks(), [&](RankInWorld world) -> absl::Status {
    SmallModel model(layout, world.rank);
    FillPattern(model.state().tensors, shift);
    return Save(storage, directory, model.state(), world.exchange,
                {.save_id = "s", .iteration = shift}, world.stream, world.memory)
        .status();
  }));
  return Commit(storage, directory);
}

absl::Status LoadAndSaveAgain(Storage& storage, const ModelLayout& layout, const std::string& from,
                              const std::string& to, int shift) {
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(to));
  HETERO_RETURN_IF_ERROR(RunWorld(layout.num_ranks(), [&](RankInWorld world) -> absl::Status {
    SmallModel model(layout, world.rank);
    FillValue(model.state().tensors, 999);
    for (CheckpointObject& object : model.state().objects) object.value = nullptr;
    HETERO_ASSIGN_OR_RETURN(
        const LoadReport report,
        Load(storage, from, model.state(), world.exchange, {}, world.stream, world.memory));
    EXPECT_EQ(report.iteration, shift);
    EXPECT_TRUE(report.unused.empty() && report.kept.empty());
    EXPECT_EQ(PatternDifference(model.state().tensors, shift), "") << "rank " << world.rank;
    for (const CheckpointObject& object : model.state().objects) {
      EXPECT_EQ(object.value["step"], 7) << object.name;
    }
    return Save(storage, to, model.state(), world.exchange, {.save_id = "s", .iteration = shift},
                world.stream, world.memory)
        .status();
  }));
  return Commit(storage, to);
}

// save(a), load(b), save(b), load(a).
void ExpectIdentity(const ModelLayout& a, const ModelLayout& b) {
  SCOPED_TRACE(absl::StrCat(a.ToString(), "\n  to ", b.ToString()));
  MemoryStorage storage;
  ASSERT_THAT(SavePattern(storage, a, "/first", 3), IsOk());
  ASSERT_THAT(LoadAndSaveAgain(storage, b, "/first", "/second", 3), IsOk());
  ASSERT_THAT(LoadAndSaveAgain(storage, a, "/second", "/third", 3), IsOk());
}

TEST(LayoutsTest, AnyLayoutLoadsWhatAnyOtherSaved) {
  std::mt19937_64 random = FreshGenerator();
  const std::vector<ModelLayout> layouts = LayoutsOf(8);
  for (int i = 0; i < 12; ++i) {
    ExpectIdentity(layouts[random() % layouts.size()], layouts[random() % layouts.size()]);
  }
}

TEST(LayoutsTest, TheNumberOfRanksMayChange) {
  std::mt19937_64 random = FreshGenerator();
  for (int i = 0; i < 8; ++i) {
    const std::vector<ModelLayout> from = LayoutsOf(int64_t{1} << random() % 4);
    const std::vector<ModelLayout> to = LayoutsOf(int64_t{1} << random() % 4);
    ExpectIdentity(from[random() % from.size()], to[random() % to.size()]);
  }
}

struct Change {
  const char* name;
  ModelLayout from;
  ModelLayout to;
};

class ChangesTest : public ::testing::TestWithParam<Change> {};

TEST_P(ChangesTest, KeepsEveryElement) { ExpectIdentity(GetParam().from, GetParam().to); }

constexpr BranchLayout kEncoder{.first = 4, .tp = 2, .dp = 2};

INSTANTIATE_TEST_SUITE_P(
    Grids, ChangesTest,
    ::testing::Values(
        Change{"TensorParallel", {{.tp = 2, .dp = 2}, kEncoder}, {{.tp = 4}, kEncoder}},
        Change{"DataParallel", {{.dp = 4}, kEncoder}, {{.dp = 1}, {.first = 1, .tp = 2, .dp = 2}}},
        Change{"Experts",
               {{.dp = 4, .ep = 4}, kEncoder},
               {{.dp = 4, .ep = 2, .expt_tp = 2}, kEncoder}},
        Change{"Pipeline", {{.dp = 2, .pp = 2}, kEncoder}, {{.pp = 4}, kEncoder}},
        Change{"EncoderOnly", {{.dp = 4}, kEncoder}, {{.dp = 4}, {.first = 4, .tp = 1, .dp = 4}}},
        Change{"Colocated", {{.dp = 4}, kEncoder}, {{.dp = 4}, {.tp = 4}}},
        Change{"ReplicatedGroups", {{.tp = 4}, kEncoder}, {{.tp = 1, .dp = 4}, kEncoder}}),
    [](const auto& info) { return info.param.name; });

// Of what several ranks want each byte is read once, and each rank's moments by it alone.
TEST(LayoutsTest, EachStoredByteIsReadByOneRank) {
  MemoryStorage storage;
  const ModelLayout layout{{.tp = 2, .dp = 4}, {.tp = 2, .dp = 4}};
  ASSERT_THAT(SavePattern(storage, layout, "/c", 1), IsOk());
  std::vector<int64_t> read(8);
  int64_t wanted = 0;
  ASSERT_THAT(RunWorld(8,
                       [&](RankInWorld world) -> absl::Status {
                         SmallModel model(layout, world.rank);
                         HETERO_ASSIGN_OR_RETURN(const LoadReport report,
                                                 Load(storage, "/c", model.state(), world.exchange,
                                                      {}, world.stream, world.memory));
                         read[world.rank] = report.bytes_read;
                         if (world.rank == 0) wanted = report.bytes;
                         return absl::OkStatus();
                       }),
              IsOk());
  int64_t total = 0;
  for (const int64_t bytes : read) {
    EXPECT_GT(bytes, 0);
    total += bytes;
  }
  EXPECT_EQ(total, wanted);
}

}  // namespace
}  // namespace hetero
