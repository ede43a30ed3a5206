#include "hetero/ckpt/publish/resume.h"

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/testing/small_checkpoint.h"
#include "hetero/ckpt/storage/memory_storage.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const fs::path kFolder = "/save";

class ResumeTest : public ::testing::Test {
 protected:
  void SetUp() override { Add({10, 20, 30}); }

  void Add(const std::vector<int64_t>& iterations) {
    for (const int64_t iteration : iterations) {
      const fs::path directory = kFolder / IterationName(iteration);
      ASSERT_THAT(storage_.MakeDirectory(directory), IsOk());
      ASSERT_THAT(WriteSmallCheckpoint(storage_, directory, iteration, "id"), IsOk());
      const std::string manifest = ReadText(storage_, directory / kManifestName).value();
      ASSERT_THAT(WriteText(storage_, directory / kCommitName, CommitText(manifest)), IsOk());
    }
  }

  void Track(std::string_view text) {
    ASSERT_THAT(WriteText(storage_, kFolder / kTrackerName, text), IsOk());
  }

  absl::StatusOr<ResumePlan> Plan(const ResumeOptions& options = {}) {
    return PlanResume(storage_, kFolder, ReadTracker(storage_, kFolder).value(), options);
  }

  absl::StatusOr<ResumeReport> Resume(const ResumeOptions& options = {}) {
    const absl::StatusOr<ResumePlan> plan = Plan(options);
    if (!plan.ok()) return plan.status();
    return ResumeFrom(*plan, [&](const std::string& name) {
      return CheckComplete(storage_, kFolder / name).status();
    });
  }

  MemoryStorage storage_;
};

TEST_F(ResumeTest, FromTheTracker) {
  Track("20\n");
  const auto report = Resume();
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->checkpoint, "iter_0000020");
  EXPECT_THAT(report->warnings, ElementsAre(AllOf(HasSubstr("iter_0000020 and not used"),
                                                  HasSubstr("iter_0000030"))));
  Track("release");
  EXPECT_THAT(Plan()->candidates, ElementsAre("release"));
}

TEST_F(ResumeTest, AnIterationThatIsAskedForIsTakenOrNothing) {
  Track("30");
  EXPECT_EQ(Resume({.iteration = 10})->checkpoint, "iter_0000010");
  EXPECT_THAT(Resume({.iteration = 15}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("iter_0000015")));
}

TEST_F(ResumeTest, WithoutATrackerOnlyAFreshStartThatIsAllowed) {
  EXPECT_THAT(Plan(), StatusIs(absl::StatusCode::kNotFound,
                               AllOf(HasSubstr("latest_checkpointed_iteration.txt"),
                                     HasSubstr("iter_0000010, iter_0000020, iter_0000030"))));
  const auto fresh = Resume({.allow_fresh_start = true});
  ASSERT_THAT(fresh, IsOk());
  EXPECT_EQ(fresh->checkpoint, "");
  EXPECT_THAT(fresh->warnings, ElementsAre(HasSubstr("starting anew")));
  EXPECT_THAT(PlanResume(storage_, "/absent", {}, {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there is no checkpoint")));
  EXPECT_THAT(PlanResume(storage_, "/absent", {}, {.allow_fresh_start = true})->candidates,
              IsEmpty());
}

TEST_F(ResumeTest, AGarbledTrackerFallsBackToTheNewest) {
  for (const std::string text : {"", "1x", "-3", "\x80\x01"}) {
    Track(text);
    const auto report = Resume();
    ASSERT_THAT(report, IsOk());
    EXPECT_EQ(report->checkpoint, "iter_0000030");
    EXPECT_THAT(report->warnings,
                ElementsAre(AllOf(HasSubstr("cannot be read"), HasSubstr("iter_0000030"))));
    EXPECT_THAT(Resume({.max_fallbacks = 0}), StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST_F(ResumeTest, ADamagedCheckpointFallsBackLoudlyAndNoFurtherThanAllowed) {
  Track("30");
  ASSERT_THAT(storage_.Remove(kFolder / "iter_0000030" / kCommitName), IsOk());
  const auto report = Resume();
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->checkpoint, "iter_0000020");
  EXPECT_EQ(report->fallbacks, 1);
  EXPECT_THAT(report->warnings, ElementsAre(AllOf(HasSubstr("cannot go on from iter_0000030"),
                                                  HasSubstr("COMMIT is missing"),
                                                  HasSubstr("falling back to iter_0000020"))));
  EXPECT_THAT(Resume({.max_fallbacks = 0}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("COMMIT is missing")));

  ASSERT_THAT(WriteText(storage_, kFolder / "iter_0000020/data_0.txt", "short"), IsOk());
  EXPECT_THAT(Resume(), StatusIs(absl::StatusCode::kDataLoss,
                                 AllOf(HasSubstr("iter_0000030"), HasSubstr("iter_0000020"),
                                       HasSubstr("has 5 bytes"), HasSubstr("\"key0\""))));
  EXPECT_EQ(Resume({.max_fallbacks = 2})->checkpoint, "iter_0000010");
}

TEST_F(ResumeTest, WhatIsNoDamageEndsIt) {
  Track("30");
  int calls = 0;
  EXPECT_THAT(ResumeFrom(*Plan(),
                         [&](const std::string&) {
                           ++calls;
                           return absl::InvalidArgumentError("num_layers is 3, here 4");
                         }),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(calls, 1);
}

TEST_F(ResumeTest, EveryByteOfCommitAndManifestCounts) {
  const fs::path directory = kFolder / "iter_0000010";
  for (const std::string_view name : {kCommitName, kManifestName}) {
    const std::string text = ReadText(storage_, directory / name).value();
    for (size_t at = 0; at < text.size(); ++at) {
      std::string damaged = text;
      damaged[at] ^= 1 << (at % 8);
      ASSERT_THAT(WriteText(storage_, directory / name, damaged), IsOk());
      EXPECT_THAT(CheckComplete(storage_, directory), StatusIs(absl::StatusCode::kDataLoss))
          << name << " " << at;
    }
    ASSERT_THAT(WriteText(storage_, directory / name, text), IsOk());
  }
  EXPECT_THAT(CheckComplete(storage_, directory), IsOk());
}

TEST_F(ResumeTest, DirectoriesOfOthersAreTold) {
  const fs::path directory = kFolder / "iter_0000010";
  EXPECT_EQ(KindOfCheckpoint(storage_, directory), CheckpointKind::kOurs);
  ASSERT_THAT(storage_.Remove(directory / kManifestName), IsOk());
  EXPECT_EQ(KindOfCheckpoint(storage_, directory), CheckpointKind::kForeign);
  ASSERT_THAT(storage_.Remove(directory / "metadata.json"), IsOk());
  EXPECT_EQ(KindOfCheckpoint(storage_, directory), CheckpointKind::kNone);
}

}  // namespace
}  // namespace hetero
