#include "hetero/data/conversation_source.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/conversation_harness.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/resize.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::testing::IsEmpty;

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

}  // namespace
}  // namespace hetero::data
