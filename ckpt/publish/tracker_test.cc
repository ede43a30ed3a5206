#include "hetero/ckpt/publish/tracker.h"

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Kind = Tracker::Kind;

Tracker Iteration(int64_t iteration) { return {.kind = Kind::kIteration, .iteration = iteration}; }

TEST(NamesTest, IterationsAreNamedAsMegatronDoes) {
  EXPECT_EQ(IterationName(10), "iter_0000010");
  EXPECT_EQ(IterationName(12345678), "iter_12345678");
  for (const int64_t iteration : {int64_t{0}, int64_t{10}, int64_t{9999999}, int64_t{12345678}}) {
    EXPECT_EQ(ParseIterationName(IterationName(iteration)), iteration);
  }
  for (const std::string name : {"iter_10", "iter_00000010", "iter_-000010", "iter_000001x",
                                 "iter_", "release", ".iter_0000010.a"}) {
    EXPECT_FALSE(ParseIterationName(name).has_value()) << name;
  }
  EXPECT_TRUE(IsStagingName(StagingName(10, "ab12")));
  EXPECT_FALSE(IsStagingName("iter_0000010"));
  EXPECT_FALSE(IsStagingName(".iter_0000010"));
  EXPECT_FALSE(IsStagingName(".trash.iter_0000010.ab"));
}

TEST(TrackerTest, TextsAndWhatTheyName) {
  for (const std::string text : {"10", "10\n", " 10 "}) {
    EXPECT_EQ(ParseTracker(text), Iteration(10)) << text;
    EXPECT_EQ(ParseTracker(text).CheckpointName(), "iter_0000010");
  }
  EXPECT_EQ(ParseTracker("12345678").CheckpointName(), "iter_12345678");
  EXPECT_EQ(ParseTracker("release\n").CheckpointName(), "release");
  for (const std::string text : {"", " ", "1x", "-3", "+3", "0x10", "99999999999999999999", "10 20",
                                 "\x80\x02", "released"}) {
    EXPECT_EQ(ParseTracker(text).kind, Kind::kGarbled) << text;
  }
}

TEST(TrackerTest, WrittenThenRead) {
  MemoryStorage storage;
  EXPECT_THAT(ReadTracker(storage, "/"), IsOkAndHolds(Tracker{}));
  ASSERT_THAT(WriteTracker(storage, "/", 20), IsOk());
  EXPECT_THAT(ReadTracker(storage, "/"), IsOkAndHolds(Iteration(20)));
  ASSERT_THAT(
      WriteText(storage, std::filesystem::path("/") / kTrackerName, std::string(1 << 20, '1')),
      IsOk());
  EXPECT_THAT(ReadTracker(storage, "/"), IsOkAndHolds(Tracker{.kind = Kind::kGarbled}));
}

TEST(TrackerTest, RanksAgreeOnTheHighestAndSayWhoSawWhat) {
  EXPECT_THAT(AgreeOnTracker(std::vector(3, Iteration(10))).warnings, IsEmpty());
  // A rank 0 whose file system is behind.
  const AgreedTracker late = AgreeOnTracker(std::vector{Tracker{}, Iteration(10), Iteration(10)});
  EXPECT_EQ(late.tracker, Iteration(10));
  EXPECT_THAT(late.warnings, ElementsAre(AllOf(HasSubstr("no tracker by ranks 0;"),
                                               HasSubstr("iteration 10 by ranks 1,2;"),
                                               HasSubstr("all go by iteration 10"))));
  const AgreedTracker two = AgreeOnTracker(std::vector{Iteration(10), Iteration(20)});
  EXPECT_EQ(two.tracker, Iteration(20));
  EXPECT_EQ(two.warnings.size(), 1);
  EXPECT_EQ(AgreeOnTracker(std::vector{Tracker{.kind = Kind::kGarbled}, Tracker{}}).tracker.kind,
            Kind::kGarbled);
  for (const Tracker& tracker : {Tracker{}, Tracker{.kind = Kind::kRelease},
                                 Tracker{.kind = Kind::kGarbled}, Iteration(0), Iteration(7)}) {
    EXPECT_EQ(Tracker::Decode(tracker.Encode()), tracker);
  }
}

}  // namespace
}  // namespace hetero
