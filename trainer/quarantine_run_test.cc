// Samples that cannot be read, in whole runs: all ranks pass over the same ones, and nothing else
// changes.

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
#include "hetero/data/webdataset/quarantine_list.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/testing/captioned_images.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kNumSamples = 24;
constexpr int kNumSteps = 3;  // of 16 samples: every sample is met twice

// Sample i has i + 1 letters of caption, and an end.
class QuarantineRunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    name_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::vector<CaptionedImage> samples;
    for (int i = 0; i < kNumSamples; ++i) {
      samples.push_back(
          {{.height = 32, .width = 24 + 8 * (i % 2)}, std::string(1 + i, static_cast<char>('a'))});
    }
    ASSERT_THAT(WriteCaptionedImages(TestFolder() / name_, samples), IsOk());
    fs::remove(List());
  }

  void Damage(std::string_view key, ImagePart part = ImagePart::kPixels) {
    ASSERT_THAT(DamageImage(TestFolder() / name_, key, part), IsOk());
  }

  fs::path List() const { return TestFolder() / absl::StrCat(name_, ".jsonl"); }

  proto::RunConfig Config(const std::vector<std::string>& more, int64_t max_samples = 2) const {
    std::vector<std::string> all = {CaptionedImagesSetting(name_),
                                    absl::StrCat("train_steps=", kNumSteps),
                                    absl::StrCat("data.quarantine={max_samples: ", max_samples,
                                                 " file: \"", List().filename().native(), "\"}")};
    all.insert(all.end(), more.begin(), more.end());
    return RecipeConfig("mock_vlm_tiny", all);
  }

  RecipeRun Train(const std::vector<std::string>& more = {}, int64_t max_samples = 2) const {
    return RunConfigured(Config(more, max_samples));
  }

  std::string name_;
};

double LossTokens(const RecipeRun& run) {
  double sum = 0;
  for (const StepMetrics& step : run.steps) sum += step.losses[0].count;
  return sum;
}

void ExpectSameSteps(const RecipeRun& actual, const RecipeRun& expected) {
  ASSERT_EQ(actual.steps.size(), expected.steps.size());
  for (size_t i = 0; i < expected.steps.size(); ++i) {
    EXPECT_EQ(actual.steps[i].losses[0].sum, expected.steps[i].losses[0].sum);
    EXPECT_EQ(actual.steps[i].losses[0].count, expected.steps[i].losses[0].count);
    EXPECT_EQ(actual.steps[i].grad_norm, expected.steps[i].grad_norm);
  }
}

// Tokens with a loss of a sample: its caption and an end, but what its last image token predicts
// counts for the first letter.
constexpr double LossTokensOf(int sample) { return sample + 2; }

TEST_F(QuarantineRunTest, ASampleThatOnlyTheEncoderCannotReadIsPassedOverByAll) {
  const RecipeRun whole = Train();
  ASSERT_THAT(whole.status, IsOk());
  EXPECT_THAT(data::ReadQuarantine(List()), IsOkAndHolds(IsEmpty()));

  Damage("k17");
  const RecipeRun found = Train();
  ASSERT_THAT(found.status, IsOk());
  EXPECT_EQ(LossTokens(found), LossTokens(whole) - 2 * LossTokensOf(17));
  EXPECT_THAT(found.output, HasSubstr("passed over from now on: sample shard.tar/k17 of "));
  const std::vector<data::ListedSample> list = data::ReadQuarantine(List()).value();
  ASSERT_THAT(list, ElementsAre(AllOf(Field(&data::ListedSample::sample, "shard.tar/k17"),
                                      Field(&data::ListedSample::reason, HasSubstr("k17.png")))));
  EXPECT_EQ(list[0].data_set, fs::canonical(TestFolder() / name_).native());

  // What the list names is not looked at, and all else is as it was.
  const RecipeRun listed = Train();
  ASSERT_THAT(listed.status, IsOk());
  EXPECT_THAT(listed.output, Not(HasSubstr("passed over from now on")));
  ExpectSameSteps(listed, found);
}

TEST_F(QuarantineRunTest, ASampleThatNoRankCanReadIsOneBadSample) {
  const RecipeRun whole = Train();
  Damage("k09", ImagePart::kHeader);
  const RecipeRun run = Train();
  ASSERT_THAT(run.status, IsOk());
  EXPECT_EQ(LossTokens(run), LossTokens(whole) - 2 * LossTokensOf(9));
  EXPECT_EQ(data::ReadQuarantine(List())->size(), 1);
}

// A plan has no place for a sample without sizes; one whose pixels alone are bad keeps its place,
// as the plan must not depend on what a list says.
TEST_F(QuarantineRunTest, PackedRowsAreTheSameWithAListAndWithout) {
  Damage("k09", ImagePart::kHeader);
  Damage("k17");
  const std::vector<std::string> packs = {
      "sequence_length=96", "global_batch_size=8",
      "data.packing={max_patches: 256 max_images: 4 buffer_size: 8}"};
  const RecipeRun found = Train(packs);
  ASSERT_THAT(found.status, IsOk());
  EXPECT_THAT(found.output, HasSubstr("passed over: sample shard.tar/k09 of "));
  EXPECT_THAT(found.output, HasSubstr("passed over from now on: sample shard.tar/k17 of "));
  EXPECT_EQ(data::ReadQuarantine(List())->size(), 2);
  const RecipeRun listed = Train(packs);
  ASSERT_THAT(listed.status, IsOk());
  EXPECT_THAT(listed.output, Not(HasSubstr("passed over")));
  ExpectSameSteps(listed, found);
}

TEST_F(QuarantineRunTest, EveryLayoutPassesOverTheSame) {
  Damage("k03");
  Damage("k20");
  const RecipeRun alone = Train();
  ASSERT_THAT(alone.status, IsOk());
  struct Layout {
    std::string_view launch;
    std::string_view encoder;
    std::string_view language;
    std::vector<std::string> more;
  };
  for (const Layout& layout :
       {Layout{"threads:3", "num_ranks: 1 rank_offset: 0", "num_ranks: 2 rank_offset: 1", {}},
        Layout{"threads:4", "num_ranks: 2 rank_offset: 0", "num_ranks: 2 rank_offset: 2", {}},
        Layout{"threads:4",
               "num_ranks: 2 rank_offset: 0",
               "num_ranks: 2 rank_offset: 2 tp: 2",
               {"data.balance={images: true}"}},
        Layout{"threads:2",
               "num_ranks: 2 rank_offset: 0",
               "num_ranks: 2 rank_offset: 0",
               {"micro_batch_size=2"}}}) {
    fs::remove(List());
    std::vector<std::string> more = {
        absl::StrCat("launch=", layout.launch),
        absl::StrCat("grids[0]={name: \"radio_encoder\" ", layout.encoder, "}"),
        absl::StrCat("grids[1]={name: \"language\" ", layout.language, "}")};
    more.insert(more.end(), layout.more.begin(), layout.more.end());
    const RecipeRun run = Train(more);
    ASSERT_THAT(run.status, IsOk()) << layout.launch;
    ASSERT_EQ(run.steps.size(), alone.steps.size());
    for (size_t i = 0; i < alone.steps.size(); ++i) {
      EXPECT_EQ(run.steps[i].losses[0].count, alone.steps[i].losses[0].count);
      EXPECT_NEAR(run.steps[i].losses[0].sum / alone.steps[i].losses[0].sum, 1, 1e-5);
    }
    EXPECT_EQ(data::ReadQuarantine(List())->size(), 2);
  }
}

TEST_F(QuarantineRunTest, OneMoreThanAllowedEndsTheRunAndIsNamed) {
  for (const std::string_view key : {"k01", "k08", "k15"}) Damage(key);
  const RecipeRun run = Train();
  EXPECT_THAT(run.status,
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("sample shard.tar/k"), HasSubstr(".png: "),
                             HasSubstr("3 samples cannot be read, data.quarantine.max_samples is "
                                       "2; mend the data set, or set it to 3"))));
  EXPECT_EQ(ExitCodeFor(run.status), ExitCode::kData);
  // All three are on the list, and so the next run does not begin.
  EXPECT_EQ(data::ReadQuarantine(List())->size(), 3);
  EXPECT_THAT(Train().status,
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("3 samples cannot be read")));
  EXPECT_THAT(Train({}, 3).status, IsOk());
}

TEST_F(QuarantineRunTest, ARunGoesOnAsIfItHadNeverEnded) {
  Damage("k17");
  Damage("k02");
  const std::vector<std::string> saves = {"checkpoint={save: {folder: \"saves\"}}"};
  const RecipeRun whole = Train();
  ASSERT_THAT(whole.status, IsOk());
  for (const bool keeps_list : {false, true}) {
    fs::remove(List());
    fs::remove_all(TestFolder() / "saves");
    const RecipeRun first = Train({saves[0], "stop_every_steps=1"});
    ASSERT_EQ(first.steps.size(), 1);
    if (!keeps_list) fs::remove(List());
    const RecipeRun rest =
        Train({"checkpoint={save: {folder: \"saves\"} load: {folder: \"saves\"}}"});
    ASSERT_THAT(rest.status, IsOk());
    ASSERT_EQ(rest.steps.size(), 2);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(rest.steps[i].losses[0].sum, whole.steps[i + 1].losses[0].sum);
      EXPECT_EQ(rest.steps[i].grad_norm, whole.steps[i + 1].grad_norm);
    }
  }
}

TEST_F(QuarantineRunTest, EvaluationPassesOverItsOwn) {
  const std::string setting = absl::StrCat("data.web_dataset.evaluation=\"", name_, "\"");
  const std::vector<std::string> evaluates = {setting, "train_steps=0",
                                              "evaluation={num_batches: 2}"};
  const RecipeRun whole = Train(evaluates);
  ASSERT_THAT(whole.status, IsOk());
  Damage("k17");
  const RecipeRun run = Train(evaluates);
  ASSERT_THAT(run.status, IsOk());
  EXPECT_THAT(run.output, HasSubstr("passed over from now on: sample shard.tar/k17 of "));
  EXPECT_NE(ResultValue(run.output, "validation_lm_loss"),
            ResultValue(whole.output, "validation_lm_loss"));
}

// The list is of another data set, or of this one before it was prepared anew.
TEST_F(QuarantineRunTest, WhatTheListNamesMustBeThere) {
  const auto list = [&](std::string data_set, std::string sample) {
    fs::remove(List());
    ASSERT_THAT(data::AddToQuarantine(
                    List(), std::vector<data::ListedSample>{{.data_set = std::move(data_set),
                                                             .sample = std::move(sample)}}),
                IsOk());
  };
  const std::string here = (TestFolder() / name_).native();
  list("/elsewhere", "shard.tar/k99");
  EXPECT_THAT(Train().status, IsOk());
  list(here, "shard.tar/k99");
  EXPECT_THAT(Train().status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("data.quarantine.file"), HasSubstr("shard.tar/k99"))));
  list(here, "shard9.tar/k01");
  EXPECT_THAT(Train().status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("data.quarantine.file"), HasSubstr("shard9.tar/k01"))));
}

TEST(QuarantineConfigTest, MockSamplesHaveNone) {
  EXPECT_THAT(RunConfigured(RecipeConfig("mock_vlm_tiny", {"data.quarantine={max_samples: 1}"}),
                            {.dry_run = true})
                  .status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.quarantine is set, samples of data.mock")));
}

}  // namespace
}  // namespace hetero
