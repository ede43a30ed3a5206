// Runs on captioned images of many shapes and lengths: what is planned holds every image, and
// padding changes nothing.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/trainer/testing/captioned_images.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

class CaptionRunTest : public ::testing::Test {
 protected:
  void Write(const std::vector<CaptionedImage>& samples) {
    folder_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_THAT(WriteCaptionedImages(TestFolder() / folder_, samples), IsOk());
  }

  RecipeRun Train(const std::vector<std::string>& assignments) {
    std::vector<std::string> all = {CaptionedImagesSetting(folder_)};
    all.insert(all.end(), assignments.begin(), assignments.end());
    return RunConfigured(RecipeConfig("mock_vlm_tiny", all));
  }

  fs::path folder_;
};

// Losses and the balance of the experts' load, over steps that use what the first ones learnt.
TEST_F(CaptionRunTest, TheSequenceLengthChangesNoNumber) {
  std::vector<CaptionedImage> samples;
  for (int i = 0; i < 16; ++i) {
    samples.push_back({{.height = 32, .width = 24 + 8 * (i % 2)}, std::string(1 + i, 'g')});
  }
  Write(samples);
  std::vector<RecipeRun> runs;
  for (const int length : {48, 64, 128}) {
    runs.push_back(Train({absl::StrCat("sequence_length=", length), "train_steps=4"}));
    ASSERT_THAT(runs.back().status, IsOk());
    ASSERT_EQ(runs.back().steps.size(), 4);
  }
  for (size_t step = 0; step < 4; ++step) {
    const std::vector<LossSum>& expected = runs[0].steps[step].losses;
    ASSERT_GE(expected.size(), 2);
    for (size_t run = 1; run < runs.size(); ++run) {
      for (size_t i = 0; i < 2; ++i) {
        const LossSum& actual = runs[run].steps[step].losses[i];
        EXPECT_EQ(actual.count, expected[i].count) << actual.name;
        EXPECT_NEAR(actual.sum / expected[i].sum, 1, 2e-6) << actual.name << " at " << step;
      }
    }
  }
}

TEST_F(CaptionRunTest, CaptionsAreReadWithTheTokenizerThatIsNamed) {
  std::vector<CaptionedImage> samples;
  for (int i = 0; i < 16; ++i) {
    samples.push_back({{.height = 32, .width = 32}, absl::StrCat("the model reads 1", i)});
  }
  Write(samples);
  // The numbers of loss tokens: those of the captions' ids, and an end each.
  const std::vector<std::string> model = {"model.language.vocabulary_size=640",
                                          "model.image_token_id=3", "train_steps=1"};
  const auto with = [&](std::string_view tokenizer) {
    std::vector<std::string> all = model;
    all.push_back(absl::StrCat("data.tokenizer=\"", fs::absolute(tokenizer).native(), "\""));
    return Train(all);
  };
  const RecipeRun run = with("data/text/testdata/nemotron.json");
  ASSERT_THAT(run.status, IsOk());
  const auto tokenizer = data::LoadTokenizer("data/text/testdata/nemotron.json").value();
  int64_t num_tokens = 0;
  for (const CaptionedImage& sample : samples) {
    num_tokens += static_cast<int64_t>(Encode(*tokenizer, sample.caption).value().size()) + 1;
  }
  EXPECT_EQ(run.steps[0].losses[0].count, num_tokens);
  EXPECT_THAT(
      with("data/text/testdata/gpt2.json").status,
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("gpt2.json: it has no token <image>, and the model's image token 3")));
}

// Two samples fill a row of 48 tokens. A step is all samples, so only their rows differ.
TEST_F(CaptionRunTest, PackedRowsTrainAsRowsOfTheirOwnDo) {
  std::vector<CaptionedImage> samples;
  for (int i = 0; i < 16; ++i) {
    samples.push_back({{.height = 32, .width = 32}, std::string(7, static_cast<char>('a' + i))});
  }
  Write(samples);
  // The balance of the experts' load is a mean over rows.
  const std::vector<std::string> common = {"train_steps=3", "sequence_length=48",
                                           "model.language.experts.aux_loss_coefficient=0"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), common.begin(), common.end());
    return Train(more);
  };
  const RecipeRun alone = with({});
  const RecipeRun packed = with(
      {"global_batch_size=8", "data.packing={max_patches: 128 max_images: 2 buffer_size: 16}"});
  ASSERT_THAT(alone.status, IsOk());
  ASSERT_THAT(packed.status, IsOk());
  ASSERT_EQ(packed.steps.size(), 3);
  for (size_t step = 0; step < 3; ++step) {
    const LossSum& expected = alone.steps[step].losses[0];
    const LossSum& actual = packed.steps[step].losses[0];
    EXPECT_EQ(actual.count, 16 * 8);
    EXPECT_EQ(actual.count, expected.count);
    EXPECT_NEAR(actual.sum / expected.sum, 1, 2e-6) << " at " << step;
  }
}

// Of 2 x 1 tiles and one, of wide images and of squares: more tiles are more image tokens, and what
// is trained on is the same.
TEST_F(CaptionRunTest, ImagesAreCutIntoTiles) {
  std::vector<CaptionedImage> samples;
  for (int i = 0; i < 16; ++i) {
    samples.push_back({{.height = 20, .width = i % 2 == 0 ? 41 : 20}, std::string(1 + i, 'g')});
  }
  Write(samples);
  const auto with = [&](std::string_view tiles, std::string_view more) {
    return Train({absl::StrCat("data.web_dataset={train: \"", folder_.native(),
                               "\" end_token_id: 256 tiles: {", tiles, "}}"),
                  "train_steps=3", std::string(more)});
  };
  const std::string_view kTiles = "tile_size: 16 max_tiles: 4 thumbnail: true";
  const RecipeRun tiled = with(kTiles, "model.freeze_encoder=false");
  const RecipeRun whole = with("tile_size: 16 max_tiles: 1", "model.freeze_encoder=false");
  ASSERT_THAT(tiled.status, IsOk());
  ASSERT_THAT(whole.status, IsOk());
  for (size_t step = 0; step < 3; ++step) {
    EXPECT_EQ(tiled.steps[step].losses[0].count, 16 * 17 / 2 + 16);
    EXPECT_EQ(whole.steps[step].losses[0].count, 16 * 17 / 2 + 16);
    EXPECT_NE(whole.steps[step].losses[0].sum, tiled.steps[step].losses[0].sum);
  }
  EXPECT_LT(tiled.steps[2].losses[0].sum, tiled.steps[0].losses[0].sum);
  EXPECT_THAT(with(kTiles, "data.packing={max_patches: 192 max_images: 8 buffer_size: 16}").status,
              IsOk());
}

// A line of text is 2 x 32 patches: no more than a square of 8 x 8, but four times as long.
TEST_F(CaptionRunTest, ThinImagesFitWhatIsPlanned) {
  Write({{{.height = 30, .width = 500}, "a line of text"},
         {{.height = 300, .width = 20}, "a column"},
         {{.height = 40, .width = 40}, "a square"}});
  for (const char* frozen : {"true", "false"}) {
    EXPECT_THAT(Train({absl::StrCat("model.freeze_encoder=", frozen), "train_steps=2"}).status,
                IsOk());
  }
}

TEST_F(CaptionRunTest, MorePatchesThanTheModelsLargestImageAreRefusedAtTheStart) {
  Write(std::vector<CaptionedImage>(4, {{.height = 72, .width = 72}, "grey"}));
  const std::vector<std::string> shape = {"sequence_length=300", "micro_batch_size=1",
                                          "global_batch_size=4", "train_steps=1"};
  const auto with = [&](std::string assignment) {
    std::vector<std::string> all = shape;
    all.push_back(std::move(assignment));
    return Train(all);
  };
  const RecipeRun refused = with("data.web_dataset.max_patches=1024");
  EXPECT_THAT(refused.status, StatusIs(absl::StatusCode::kInvalidArgument,
                                       HasSubstr("data.web_dataset.max_patches is 1024, must be "
                                                 "at most 256")));
  EXPECT_EQ(refused.output, "");
  EXPECT_THAT(with("data.web_dataset.max_patches=256").status, IsOk());
}

// Half a patch high: a tile has two rows all the same, which are more than the budget.
TEST_F(CaptionRunTest, AnImageThinnerThanATileIsNamed) {
  Write({{{.height = 2, .width = 250}, "a hair"}});
  EXPECT_THAT(Train({"train_steps=1", "sequence_length=128"}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("k00.png"), HasSubstr("2 x 250"),
                                      HasSubstr("max_patches"), HasSubstr("allow 64"))));
}

}  // namespace
}  // namespace hetero
