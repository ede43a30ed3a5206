// Runs on conversations: with images, without, and both in one data set.

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::string_view kTokenizer = "data/text/testdata/nemotron.json";
constexpr int kNumSamples = 16;       // those of a step
constexpr int64_t kImageTokens = 16;  // of 32 x 32 pixels

std::string Png(int seed) {
  data::Image image;
  image.Reshape({.height = 32, .width = 32}, 1);
  for (size_t p = 0; p < image.pixels.size(); ++p) {
    image.pixels[p] =
        static_cast<uint8_t>((p + 97 * static_cast<size_t>(seed)) * 2654435761u >> 24);
  }
  return data::EncodePng(image, 0).value();
}

// A user's turn, "<image>" for each image, and what the assistant says.
struct Asked {
  std::string question;
  std::string answer;
  int num_images = 0;  // in front of the question
};

class ConversationRunTest : public ::testing::Test {
 protected:
  void SetUp() override { tokenizer_ = data::LoadTokenizer(kTokenizer).value(); }

  void Write(const std::vector<Asked>& samples) {
    folder_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    const fs::path root = TestFolder() / folder_;
    fs::remove_all(root);
    fs::create_directories(root);
    data::TarWriter writer = data::TarWriter::Create(root / "a.tar").value();
    for (size_t i = 0; i < samples.size(); ++i) {
      std::string fragments;
      for (int n = 0; n < samples[i].num_images; ++n) {
        absl::StrAppend(&fragments, R"({"t": "image", "value": ")", n, R"(.png"},)");
        ASSERT_THAT(
            writer.Add(absl::StrFormat("k%02d.%d.png", i, n), Png(static_cast<int>(7 * i) + n)),
            IsOk());
      }
      ASSERT_THAT(
          writer.Add(absl::StrFormat("k%02d.json", i),
                     absl::StrFormat(
                         R"({"conversation": [{"sender": "user", "fragments": [%s)"
                         R"({"t": "text", "value": "%s"}]}, {"sender": "assistant", "fragments": )"
                         R"([{"t": "text", "value": "%s"}]}]})",
                         fragments, samples[i].question, samples[i].answer)),
          IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
    const auto prepared = data::PrepareDataset(
        root, {.splits = {{"train", {"a.tar"}}}, .fields = data::ConversationFields()});
    ASSERT_THAT(prepared, IsOk());
    ASSERT_EQ(prepared->excluded.size(), 0);
  }

  int64_t NumTokens(std::string_view text) const {
    return static_cast<int64_t>(data::Encode(*tokenizer_, text).value().size());
  }

  // Of a sample's row.
  int64_t Length(const Asked& asked) const {
    std::string text = "<|im_start|>user\n";
    for (int n = 0; n < asked.num_images; ++n) text += "<img><image></img>";
    absl::StrAppend(&text, asked.question, "<|im_end|>\n<|im_start|>assistant\n", asked.answer,
                    "<|im_end|>\n");
    return NumTokens(text) + asked.num_images * (kImageTokens - 1);
  }

  // What an answer has of them: its ids, the end of its turn and a newline.
  int64_t NumTrained(const Asked& asked) const {
    constexpr std::string_view kPrefix = "<|im_start|>assistant\n";
    return NumTokens(absl::StrCat(kPrefix, asked.answer, "<|im_end|>\n")) - NumTokens(kPrefix);
  }

  RecipeRun Train(std::string_view images, const std::vector<std::string>& assignments) {
    std::vector<std::string> all = {
        "model.language.vocabulary_size=640",
        "model.image_token_id=3",
        "model.language.experts.aux_loss_coefficient=0",
        "data.pad_token_id=0",
        absl::StrCat("data.tokenizer=\"", fs::absolute(kTokenizer).native(), "\""),
        absl::StrCat("data.conversations={train: \"", folder_.native(), "\" ", images, "}")};
    all.insert(all.end(), assignments.begin(), assignments.end());
    return RunConfigured(RecipeConfig("mock_vlm_tiny", all));
  }

  fs::path folder_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;
};

constexpr std::string_view kImages =
    "images: {min_patches: 4 max_patches: 64 max_count: 2 tag: INTERNVL}";

TEST_F(ConversationRunTest, TextsAndImagesTrainInOneRunAndAnswersAloneAreCounted) {
  std::vector<Asked> samples;
  int64_t num_trained = 0;
  for (int i = 0; i < kNumSamples; ++i) {
    samples.push_back({.question = std::string(1 + i, 'q'),
                       .answer = absl::StrCat("the answer ", i),
                       .num_images = i % 3});
    num_trained += NumTrained(samples.back());
  }
  Write(samples);
  const RecipeRun run = Train(kImages, {"train_steps=3", "sequence_length=96"});
  ASSERT_THAT(run.status, IsOk());
  ASSERT_EQ(run.steps.size(), 3);
  for (const StepMetrics& step : run.steps) {
    EXPECT_EQ(step.losses[0].count, num_trained);
    EXPECT_TRUE(std::isfinite(step.losses[0].sum));
  }
  EXPECT_LT(run.steps[2].losses[0].sum, run.steps[0].losses[0].sum);
  EXPECT_THAT(run.output, HasSubstr("conversations in "));

  EXPECT_THAT(Train("", {"train_steps=1", "sequence_length=96"}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("images, the run takes at most 0 of a sample")));
}

// A text and two images fill a row together. A step is all samples, so only their rows differ.
TEST_F(ConversationRunTest, PackedRowsTrainAsRowsOfTheirOwnDo) {
  std::vector<Asked> samples;
  Asked text = {.question = "what", .answer = "words", .num_images = 0};
  const Asked seen = {.question = "compare", .answer = "they differ", .num_images = 2};
  // A digit is a token, whatever stands before it.
  while ((Length(text) + Length(seen)) % 16 != 0) text.question += "1";
  const int64_t row = Length(text) + Length(seen);
  ASSERT_LT(Length(text), Length(seen));
  for (int i = 0; i < kNumSamples / 2; ++i) {
    samples.push_back(text);
    samples.push_back(seen);
  }
  Write(samples);
  const std::string length = absl::StrCat("sequence_length=", row);
  const RecipeRun alone = Train(kImages, {"train_steps=3", length});
  const RecipeRun packed = Train(kImages, {"train_steps=3", length, "global_batch_size=8",
                                           absl::StrCat("data.packing={max_patches: ", 2 * 64 + 64,
                                                        " max_images: 2 buffer_size: 16}")});
  ASSERT_THAT(alone.status, IsOk());
  ASSERT_THAT(packed.status, IsOk());
  EXPECT_THAT(packed.output, HasSubstr("16 samples in 8 rows, 100.0 % full"));
  for (size_t step = 0; step < 3; ++step) {
    const LossSum& expected = alone.steps[step].losses[0];
    const LossSum& actual = packed.steps[step].losses[0];
    EXPECT_EQ(actual.count, 8 * (NumTrained(text) + NumTrained(seen)));
    EXPECT_EQ(actual.count, expected.count);
    EXPECT_NEAR(actual.sum / expected.sum, 1, 2e-6) << " at " << step;
  }
}

TEST_F(ConversationRunTest, AModelWithoutEncoderAndOneWithoutImagesReadTexts) {
  std::vector<Asked> samples;
  int64_t num_trained = 0;
  for (int i = 0; i < kNumSamples; ++i) {
    samples.push_back({.question = "q", .answer = absl::StrCat("answer ", i)});
    num_trained += NumTrained(samples.back());
  }
  Write(samples);
  const RecipeRun with_encoder = Train("", {"train_steps=2"});
  ASSERT_THAT(with_encoder.status, IsOk());
  EXPECT_EQ(with_encoder.steps[1].losses[0].count, num_trained);
  EXPECT_THAT(with_encoder.output, HasSubstr("none of them with images"));
  const RecipeRun language = RunConfigured(RecipeConfig(
      "mock_tiny", {"model.vocabulary_size=640", "data.pad_token_id=0", "train_steps=2",
                    absl::StrCat("data.tokenizer=\"", fs::absolute(kTokenizer).native(), "\""),
                    absl::StrCat("data.conversations={train: \"", folder_.native(), "\"}")}));
  ASSERT_THAT(language.status, IsOk());
  EXPECT_EQ(language.steps[1].losses[0].count, num_trained);
}

TEST_F(ConversationRunTest, WhatDoesNotFitThePromptOrTheFolderNamesTheField) {
  Write({{.question = "q", .answer = "a"}});
  EXPECT_THAT(Train("", {"data.pad_token_id=7"}).status,
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("data.pad_token_id is 7, must be that of the prompt format; "
                                 "nearest: 0")));
  EXPECT_THAT(
      Train("", {absl::StrCat("data.web_dataset={train: \"", folder_.native(),
                              "\" min_patches: 4 max_patches: 64 end_token_id: 2}")})
          .status,
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("data.web_dataset.train"), HasSubstr("of class CrudeWebdataset"))));
}

}  // namespace
}  // namespace hetero
