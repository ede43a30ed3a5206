#include "hetero/data/conversation_source.h"

#include <algorithm>
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
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/resize.h"
#include "hetero/data/image/tiles.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kPlaceholder = 3;  // "<image>" of the tokenizer

std::string Json(std::string_view user, std::string_view assistant) {
  return absl::StrFormat(
      R"({"conversation": [{"sender": "user", "fragments": [%s]},)"
      R"({"sender": "assistant", "fragments": [{"t": "text", "value": "%s"}]}]})",
      user, assistant);
}

std::string Shown(std::string_view member) {
  return absl::StrFormat(R"({"t": "image", "value": "%s"})", member);
}

std::string Said(std::string_view text) {
  return absl::StrFormat(R"({"t": "text", "value": "%s"})", text);
}

Image Grey(ImageSize size, int seed) {
  Image image;
  image.Reshape(size, 1);
  for (size_t p = 0; p < image.pixels.size(); ++p) {
    image.pixels[p] =
        static_cast<uint8_t>((p + 97 * static_cast<size_t>(seed)) * 2654435761u >> 24);
  }
  return image;
}

// Samples: a text alone, one image, two images with text between, a text of many words.
class ConversationSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
    tokenizer_ = LoadTokenizer("data/text/testdata/nemotron.json").value();
    prompt_ = std::make_shared<const Prompt>(
        Prompt::Create(tokenizer_, {.image_tag = ImageTag::kInternVl}).value());
    std::string many;
    for (int i = 0; i < 40; ++i) absl::StrAppend(&many, "word ", i, " ");
    Write({{{"json", Json(Said("Hello there"), "Hi")}},
           {{"json", Json(Shown("png") + "," + Said("What is it?"), "A boat")}, {"png", Png(0)}},
           {{"json", Json(Shown("0.png") + "," + Said("and") + "," + Shown("1.png"), "Differ")},
            {"0.png", Png(1)},
            {"1.png", Png(2)}},
           {{"json", Json(Shown("png") + "," + Said(many) + "," + Shown("b.png"), "Long")},
            {"png", Png(1)},
            {"b.png", Png(0)}}});
  }

  // Images of several sizes.
  static Image Picture(int n) { return Grey({.height = 16 + 8 * n, .width = 24 + 16 * n}, n); }
  static std::string Png(int n) { return EncodePng(Picture(n), 0).value(); }

  void Write(const std::vector<std::vector<std::pair<std::string, std::string>>>& samples) {
    TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
    for (size_t i = 0; i < samples.size(); ++i) {
      for (const auto& [extension, bytes] : samples[i]) {
        ASSERT_THAT(writer.Add(absl::StrFormat("k%d.%s", i, extension), bytes), IsOk());
      }
    }
    ASSERT_THAT(writer.Close(), IsOk());
    report_ =
        PrepareDataset(root_, {.splits = {{"train", {"a.tar"}}}, .fields = ConversationFields()})
            .value();
  }

  ConversationOptions Options(int64_t sequence_length = 96) const {
    return {.sequence_length = sequence_length,
            .prompt = prompt_,
            .images = SampleImages{
                .modality = 0, .max_count = 2, .tiling = {.patch_size = 4, .max_patches = 64}}};
  }

  std::unique_ptr<ConversationSource> Source(const ConversationOptions& options) const {
    return ConversationSource::Create(Dataset::Open(root_, "train").value(), options).value();
  }

  fs::path root_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::shared_ptr<const Prompt> prompt_;
  PrepareReport report_;
};

// The row of one sample, put together from its ids: markers are runs, the answer alone is trained.
TEST_F(ConversationSourceTest, RowsAreThePromptWithTheRowsOfImages) {
  EXPECT_THAT(report_.excluded, IsEmpty());
  const auto source = Source(Options());
  const RowFormat format = {
      .sequence_length = 96, .vocabulary_size = 640, .placeholder_ids = {kPlaceholder}};
  const std::vector<std::string> texts = {
      "<|im_start|>user\nHello there<|im_end|>\n",
      "<|im_start|>user\n<img><image></img>What is it?<|im_end|>\n",
      "<|im_start|>user\n<img><image></img>and<img><image></img><|im_end|>\n"};
  const std::vector<std::string> answers = {"Hi", "A boat", "Differ"};
  for (int64_t index = 0; index < 3; ++index) {
    SampleFacts facts;
    ASSERT_THAT(source->ReadFacts(index, facts), IsOk());
    std::vector<int64_t> counts;
    if (!facts.modalities.empty()) {
      for (const ImageSize& size : facts.modalities[0].sizes) counts.push_back(size.Area() / 64);
    }
    std::vector<int32_t> tokens, labels;
    size_t image = 0;
    const std::vector<int32_t> asked = Encode(*tokenizer_, texts[index]).value();
    for (const int32_t id : asked) {
      tokens.insert(tokens.end(), id == kPlaceholder ? counts.at(image++) : 1, id);
    }
    EXPECT_EQ(image, counts.size());
    const auto prefix = Encode(*tokenizer_, "<|im_start|>assistant\n").value();
    tokens.insert(tokens.end(), prefix.begin(), prefix.end());
    labels.assign(tokens.size() - 1, kIgnoredLabel);
    const std::vector<int32_t> answer =
        Encode(*tokenizer_, answers[index] + "<|im_end|>\n").value();
    for (const int32_t id : answer) {
      tokens.push_back(id);
      labels.push_back(id);
    }
    const int64_t num_loss = std::ssize(labels) - std::ranges::count(labels, kIgnoredLabel);
    const auto num_tokens = static_cast<int64_t>(tokens.size());
    tokens.resize(96, 0);
    labels.resize(96, kIgnoredLabel);
    LanguageSample scratch;
    LanguageBatch row;
    ASSERT_THAT(BuildLanguageBatch(*source, SampleOrder::OnePass(4).value(), {index, 1}, format,
                                   scratch, row),
                IsOk());
    EXPECT_EQ(row.tokens, tokens);
    EXPECT_EQ(row.labels, labels);
    EXPECT_EQ(row.num_tokens[0], num_tokens);
    EXPECT_EQ(row.num_loss_tokens, num_loss);
    EXPECT_EQ(scratch.name, absl::StrCat("a.tar/k", index));
  }
}

// Facts, text and pixels tell the same of a sample, and pixels are those of its images alone.
TEST_F(ConversationSourceTest, FactsTextAndPixelsAgree) {
  for (const int64_t length : {96, 200, 44}) {
    const ConversationOptions options = Options(length);
    const auto source = Source(options);
    const SourceLimits limits = LimitsOf(options);
    for (int64_t index = 3; index >= 0; --index) {
      SampleFacts facts = {.modalities = std::vector<ModalityFacts>(1)};
      ASSERT_THAT(source->ReadFacts(index, facts), IsOk());
      const ModalityFacts& images = facts.modalities[0];
      LanguageSample text;
      ASSERT_THAT(source->ReadLanguage(index, text), IsOk());
      EXPECT_EQ(text.NumPlaceholders(), images.num_tokens);
      EXPECT_LE(text.NumTokens(), length);
      EXPECT_LE(images.num_tokens, limits.max_tokens);
      EXPECT_EQ(text.media.size(), images.sizes.size());
      MediaBatch pixels;
      pixels.Clear(source->feature_width(0));
      pixels.BeginSample();
      ASSERT_THAT(source->ReadMedia(index, 0, pixels), IsOk());
      EXPECT_EQ(pixels.sizes, images.sizes);
      EXPECT_EQ(pixels.num_placeholders[0], images.num_tokens);
    }
  }
  const auto source = Source(Options());
  MediaBatch pixels;
  pixels.Clear(48);
  pixels.BeginSample();
  ASSERT_THAT(source->ReadMedia(2, 0, pixels), IsOk());
  std::vector<float> expected;
  const Patchifier patchifier(4, kClipNormalization);
  for (int n = 0; n < 2; ++n) {
    ResizeScratch scratch;
    Image rgb;
    ResizeToRgb(Picture(n + 1), pixels.sizes[n], scratch, rgb);
    std::vector<float> patches(patchifier.NumPatches(rgb.size) * 48);
    patchifier.Run(rgb, patches);
    expected.insert(expected.end(), patches.begin(), patches.end());
  }
  EXPECT_EQ(pixels.features, expected);
}

// A long text leaves the second image no room: it goes with what comes after it.
TEST_F(ConversationSourceTest, WhatIsBehindTheSequenceIsCutAtAnImage) {
  LanguageSample cut;
  const auto short_source = Source(Options(100));
  ASSERT_THAT(short_source->ReadLanguage(3, cut), IsOk());
  EXPECT_EQ(cut.media.size(), 1);
  EXPECT_LE(cut.NumTokens(), 100);
  MediaBatch pixels;
  pixels.Clear(48);
  pixels.BeginSample();
  ASSERT_THAT(short_source->ReadMedia(3, 0, pixels), IsOk());
  EXPECT_EQ(pixels.num_media[0], 1);
}

TEST_F(ConversationSourceTest, AThumbnailStandsBehindItsImage) {
  ConversationOptions options = Options(700);
  options.images->tiling = {.patch_size = 16, .max_patches = 1024, .thumbnails = true};
  const auto source = Source(options);
  LanguageSample text;
  ASSERT_THAT(source->ReadLanguage(2, text), IsOk());
  ASSERT_EQ(text.media.size(), 2);
  for (const MediaRun& run : text.media) EXPECT_EQ(run.tokens.count, 2 + 14 * 14);
  MediaBatch pixels;
  pixels.Clear(source->feature_width(0));
  pixels.BeginSample();
  ASSERT_THAT(source->ReadMedia(2, 0, pixels), IsOk());
  constexpr ImageSize kThumbnail = {.height = 448, .width = 448};
  EXPECT_THAT(pixels.sizes, ElementsAre(ImageSize{.height = 32, .width = 64}, kThumbnail,
                                        ImageSize{.height = 32, .width = 64}, kThumbnail));
  SampleFacts facts;
  ASSERT_THAT(source->ReadFacts(2, facts), IsOk());
  EXPECT_EQ(facts.modalities[0].sizes, pixels.sizes);
  EXPECT_EQ(facts.modalities[0].num_tokens, 2 * (2 + 14 * 14));
  // Whoever wants some of them gets these.
  std::vector<float> joined;
  for (size_t i = 0; i < pixels.sizes.size(); ++i) {
    std::vector<bool> wanted(pixels.sizes.size());
    wanted[i] = true;
    MediaBatch one;
    ASSERT_THAT(BuildWantedMedia(*source, SampleOrder::OnePass(4).value(), 2, 0, wanted, one),
                IsOk());
    EXPECT_THAT(one.sizes, ElementsAre(pixels.sizes[i]));
    joined.insert(joined.end(), one.features.begin(), one.features.end());
  }
  EXPECT_EQ(joined, pixels.features);
  const SourceLimits limits = LimitsOf(options);
  EXPECT_EQ(limits.sizes.size(), 4);
  EXPECT_LE(pixels.NumFeatures(), limits.max_features);
}

TEST_F(ConversationSourceTest, ImagesOfASampleAreCutIntoTilesTogether) {
  ConversationOptions options = Options(300);
  options.images->tiling = {.patch_size = 4,
                            .tiles = TileOptions{.size = 16, .max_tiles = 6, .thumbnail = true}};
  // The images have 24 x 40 and 32 x 56 pixels: 3 x 2 tiles each, and the whole.
  const auto source = Source(options);
  LanguageSample text;
  ASSERT_THAT(source->ReadLanguage(2, text), IsOk());
  ASSERT_EQ(text.media.size(), 2);
  for (const MediaRun& run : text.media) EXPECT_EQ(run.tokens.count, 7 * 4);
  MediaBatch pixels;
  pixels.Clear(source->feature_width(0));
  pixels.BeginSample();
  ASSERT_THAT(source->ReadMedia(2, 0, pixels), IsOk());
  EXPECT_EQ(pixels.sizes, std::vector(14, ImageSize{16, 16}));
  SampleFacts facts;
  ASSERT_THAT(source->ReadFacts(2, facts), IsOk());
  EXPECT_EQ(facts.modalities[0].sizes, pixels.sizes);
  EXPECT_EQ(facts.modalities[0].num_tokens, 2 * 7 * 4);
  const SourceLimits limits = LimitsOf(options);
  EXPECT_EQ(limits.sizes.size(), 2 * 7);
  EXPECT_EQ(limits.max_tokens, 2 * 7 * 4);
  EXPECT_EQ(limits.max_features, 2 * 7 * 16);

  // Where 14 are too many, both have fewer: 2 x 1 and the whole.
  options.sequence_length = text.NumTokens() + 3;
  const auto tight = Source(options);
  ASSERT_THAT(tight->ReadLanguage(2, text), IsOk());
  ASSERT_EQ(text.media.size(), 2);
  for (const MediaRun& run : text.media) EXPECT_EQ(run.tokens.count, 3 * 4);
}

TEST_F(ConversationSourceTest, PackedRowsHaveEachSampleOnce) {
  const auto source = Source(Options());
  const RowPlan plan = PlanRows(*source,
                                {.limits = {.length = 192, .num_patches = 400, .num_images = 6},
                                 .buffer_size = 4,
                                 .num_modalities = 1,
                                 .patches_per_token = 4},
                                {})
                           .value();
  const SampleOrder order = SampleOrder::Packed(plan.rows, 5).value();
  const RowFormat format = {
      .sequence_length = 192, .vocabulary_size = 640, .placeholder_ids = {kPlaceholder}};
  LanguageSample scratch;
  LanguageBatch row, alone;
  std::vector<SampleFacts> facts;
  int64_t num_loss = 0;
  for (int64_t n = 0; n < plan.rows->num_rows(); ++n) {
    ASSERT_THAT(BuildLanguageBatch(*source, order, {n, 1}, format, scratch, row), IsOk());
    num_loss += row.num_loss_tokens;
    ASSERT_THAT(ReadFacts(*source, order, {n, 1}, 192, 1, facts), IsOk());
    std::vector<int64_t> told, found;
    for (const IndexRange& run : facts[0].modalities[0].runs) {
      for (int64_t t = run.first; t < run.end(); ++t) told.push_back(t);
    }
    for (int64_t t = 0; t < 192; ++t) {
      if (row.tokens[t] == kPlaceholder) found.push_back(t);
    }
    EXPECT_EQ(told, found);
    const RowSamples samples = order.RowAt(n);
    int64_t begin = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      ASSERT_THAT(BuildLanguageBatch(*source, SampleOrder::OnePass(4).value(),
                                     {samples[i].index, 1}, format, scratch, alone),
                  IsOk());
      for (int64_t t = 0; t < alone.num_tokens[0]; ++t) {
        EXPECT_EQ(row.tokens[begin + t], alone.tokens[t]);
        EXPECT_EQ(row.labels[begin + t], alone.labels[t]);
      }
      begin += alone.num_tokens[0];
    }
  }
  ASSERT_THAT(
      BuildLanguageBatch(*source, SampleOrder::OnePass(4).value(), {0, 4}, format, scratch, alone),
      IsOk());
  EXPECT_EQ(num_loss, alone.num_loss_tokens);
}

TEST_F(ConversationSourceTest, PreparationExcludesWhatNoRunCanUse) {
  Write({{{"json", Json(Said("Hello"), "Hi")}},
         {{"json", Json(Shown("png"), "No such image")}},
         {{"json", Json(Shown("png"), "Damaged")}, {"png", Png(0).substr(0, 100)}},
         {{"png", Png(0)}}});
  ASSERT_EQ(report_.excluded.size(), 3);
  EXPECT_EQ(report_.excluded[0].sample, "a.tar/k1");
  EXPECT_THAT(report_.excluded[0].reason,
              HasSubstr("member k1.json: conversation[0]: fragments[0]: names the image \"png\""));
  EXPECT_THAT(report_.excluded[1].reason, HasSubstr("member k2.png: PNG"));
  EXPECT_THAT(report_.excluded[2].reason, HasSubstr("has no member \"json\""));
  EXPECT_EQ(Source(Options())->size(), 1);
}

TEST_F(ConversationSourceTest, WhatDoesNotFitARunNamesTheSample) {
  const auto read = [&](ConversationOptions options, int64_t index) {
    LanguageSample sample;
    return Source(options)->ReadLanguage(index, sample);
  };
  ConversationOptions options = Options();
  options.images->max_count = 1;
  EXPECT_THAT(read(options, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("shard a.tar, sample k2"), HasSubstr("it has 2 images"))));
  options.images.reset();
  EXPECT_THAT(read(options, 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("it has 1 images, the run takes at most 0")));
  EXPECT_THAT(read(options, 0), IsOk());
  options.prompt =
      std::make_shared<const Prompt>(Prompt::Create(tokenizer_, {.think_mode = true}).value());
  Write({{{"json", Json(Said("Hello"), "<think>Hi")}}});
  EXPECT_THAT(read(options, 0), StatusIs(absl::StatusCode::kInvalidArgument,
                                         AllOf(HasSubstr("sample k0"), HasSubstr("turn 1"))));
}

TEST_F(ConversationSourceTest, TextsAreTrainedOnWhole) {
  TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
  ASSERT_THAT(writer.Add("k.txt", "Boats float on water."), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(PrepareDataset(
                  root_, {.splits = {{"train", {"a.tar"}}}, .fields = TextFields{.text = "txt"}}),
              IsOk());
  LanguageSample sample;
  ASSERT_THAT(Source(Options())->ReadLanguage(0, sample), IsOk());
  EXPECT_EQ(sample.text, Encode(*tokenizer_, "Boats float on water.").value());
  EXPECT_EQ(sample.labels, sample.text);
}

TEST_F(ConversationSourceTest, SamplesOfAnotherKindAreRefused) {
  TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
  ASSERT_THAT(writer.Add("k.txt", "grey"), IsOk());
  ASSERT_THAT(writer.Add("k.png", Png(0)), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", {"a.tar"}}}, .fields = {}}), IsOk());
  EXPECT_THAT(
      ConversationSource::Create(Dataset::Open(root_, "train").value(), Options()).status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("of class CaptioningSample"), HasSubstr("CrudeWebdataset"))));
}

}  // namespace
}  // namespace hetero::data
