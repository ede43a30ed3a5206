// How the images of conversations share a sequence, whole, cut into tiles and with thumbnails.

#include <cstddef>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/conversation_harness.h"
#include "hetero/data/conversation_source.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/tiles.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

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

}  // namespace
}  // namespace hetero::data
