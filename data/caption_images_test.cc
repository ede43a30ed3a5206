// Images of captions on canvases, in dynamic resolution and as tiles.

#include <cstdint>
#include <filesystem>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_harness.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/resize.h"
#include "hetero/data/image/tiles.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::testing::ElementsAre;

// Rows are counted without opening a sample; what the sample itself says is the same.
TEST_F(CaptionBatchTest, FactsOfTiledImagesComeFromTheHeadersBesideTheIndex) {
  CaptionOptions tiles = Canvases();
  tiles.canvases.clear();
  const auto by_sample =
      CaptionSource::Create(Dataset::Open(root_, "train").value(), tiles).value();
  std::vector<SampleFacts> expected(kNumSamples);
  for (int i = 0; i < kNumSamples; ++i) {
    ASSERT_THAT(by_sample->ReadFacts(i, expected[i]), IsOk());
  }
  const auto by_header =
      CaptionSource::Create(Dataset::Open(root_, "train", {}, {.with_headers = true}).value(),
                            tiles)
          .value();
  fs::remove(root_ / "a.tar");
  for (int i = 0; i < kNumSamples; ++i) {
    SampleFacts facts;
    ASSERT_THAT(by_header->ReadFacts(i, facts), IsOk());
    EXPECT_EQ(facts, expected[i]);
  }
  LanguageSample text;
  EXPECT_FALSE(by_header->ReadLanguage(0, text).ok());
}

TEST_F(CaptionBatchTest, ImagesStandInTheMiddleOfTheirCanvas) {
  const auto source = Source();
  MediaBatch batch;
  ASSERT_THAT(BuildMediaBatch(*source, SampleOrder::OnePass(kNumSamples).value(),
                              {.begin = 6, .size = 3}, 0, batch),
              IsOk());
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 64, 160, 256));
  EXPECT_THAT(batch.media_tokens, ElementsAre(16, 24, 24));
  EXPECT_THAT(batch.num_media, ElementsAre(1, 1, 1));
  EXPECT_THAT(batch.sizes, ElementsAre(ImageSize{32, 32}, ImageSize{32, 48}, ImageSize{48, 32}));
  for (int b = 0; b < 3; ++b) {
    const ImageSize size = batch.sizes[b];
    const int top = (size.height - 28) / 2;
    const int left = (size.width - 28) / 2;
    for (int y = 0; y < size.height; ++y) {
      for (int x = 0; x < size.width; ++x) {
        const bool inside = y >= top && y < top + 28 && x >= left && x < left + 28;
        const int pixel = inside ? images_[6 + b][(y - top) * 28 + x - left] : 0;
        const int64_t patch = batch.cu_seqlens[b] + (y / 4) * (size.width / 4) + x / 4;
        for (int c = 0; c < 3; ++c) {
          const float expected = (static_cast<float>(pixel) / 255.0f - kClipNormalization.mean[c]) /
                                 kClipNormalization.std[c];
          ASSERT_EQ(batch.features[patch * 48 + c * 16 + (y % 4) * 4 + x % 4], expected);
        }
      }
    }
  }
}

TEST_F(CaptionBatchTest, DynamicResolutionFitsTheSequence) {
  const auto source = Source({.sequence_length = 64, .tiling = {.patch_size = 4}});
  LanguageSample sample;
  ASSERT_THAT(source->ReadLanguage(2, sample), IsOk());
  // 28 / 4 = 7 patches a side, grown to 8: 16 tokens.
  EXPECT_THAT(sample.media, ElementsAre(MediaRun{.modality = 0, .tokens = {0, 16}}));
  MediaBatch batch;
  batch.Clear(source->feature_width(0));
  batch.BeginSample();
  ASSERT_THAT(source->ReadMedia(2, 0, batch), IsOk());
  EXPECT_THAT(batch.sizes, ElementsAre(ImageSize{32, 32}));
  SampleFacts facts;
  ASSERT_THAT(source->ReadFacts(2, facts), IsOk());
  EXPECT_EQ(
      facts,
      (SampleFacts{.modalities = {{.num_tokens = 16, .runs = {{0, 16}}, .sizes = {{32, 32}}}}}));
  const auto tight = Source({.sequence_length = 18, .tiling = {.patch_size = 4}});
  ASSERT_THAT(tight->ReadLanguage(2, sample), IsOk());
  EXPECT_LE(sample.NumTokens(), 18 - 4);
}

// Each tile is a view with its share of the scaled image's pixels, the whole image the last; counts
// are those of headers.
TEST_F(CaptionBatchTest, TilesOfAnImageAreCutFromItScaled) {
  constexpr ImageSize kWide = {.height = 30, .width = 50};
  Image wide;
  wide.Reshape(kWide, 3);
  std::mt19937_64 random = FreshGenerator();
  for (uint8_t& pixel : wide.pixels) pixel = static_cast<uint8_t>(random());
  const fs::path root = root_ / "wide";
  fs::create_directories(root);
  TarWriter writer = TarWriter::Create(root / "a.tar").value();
  ASSERT_THAT(writer.Add("k.png", EncodePng(wide, 0).value()), IsOk());
  ASSERT_THAT(writer.Add("k.txt", "wide"), IsOk());
  ASSERT_THAT(writer.Close(), IsOk());
  ASSERT_THAT(PrepareDataset(root, {.splits = {{"train", {"a.tar"}}}, .fields = {}}), IsOk());
  const auto by_header = Dataset::Open(root, "train", {}, {.with_headers = true}).value();
  const auto by_sample = Dataset::Open(root, "train").value();

  constexpr int kTile = 16;       // pixels
  constexpr int kTokens = 2 * 2;  // of it
  constexpr ImageSize kScaled = {.height = 2 * kTile, .width = 3 * kTile};
  const CaptionOptions options = {
      .sequence_length = 48,
      .tiling = {.patch_size = 4,
                 .tiles = TileOptions{.size = kTile, .max_tiles = 6, .thumbnail = true}}};
  const auto source = CaptionSource::Create(by_header, options).value();
  LanguageSample sample;
  ASSERT_THAT(source->ReadLanguage(0, sample), IsOk());
  EXPECT_THAT(sample.media, ElementsAre(MediaRun{.modality = 0, .tokens = {0, 7 * kTokens}}));
  MediaBatch batch;
  batch.Clear(source->feature_width(0));
  batch.BeginSample();
  ASSERT_THAT(source->ReadMedia(0, 0, batch), IsOk());
  EXPECT_EQ(batch.sizes, std::vector(7, ImageSize{kTile, kTile}));
  const SourceLimits limits = LimitsOf(options);
  EXPECT_EQ(limits.max_tokens, 7 * kTokens);
  EXPECT_EQ(limits.max_features, batch.NumFeatures());
  EXPECT_EQ(limits.sizes, batch.sizes);

  const Patchifier patchifier(4, kClipNormalization);
  ResizeScratch scratch;
  Image scaled, tile;
  ResizeToRgb(wide, kScaled, scratch, scaled);
  std::vector<float> expected;
  const auto append = [&](const Image& image) {
    std::vector<float> patches(image.size.Area() * 3);
    patchifier.Run(image, patches);
    expected.insert(expected.end(), patches.begin(), patches.end());
  };
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 3; ++column) {
      tile.Reshape({.height = kTile, .width = kTile}, 3);
      for (int y = 0; y < kTile; ++y) {
        for (int x = 0; x < 3 * kTile; ++x) {
          tile.pixels[y * 3 * kTile + x] =
              scaled.pixels[(row * kTile + y) * 3 * kScaled.width + column * 3 * kTile + x];
        }
      }
      append(tile);
    }
  }
  ResizeToRgb(wide, {.height = kTile, .width = kTile}, scratch, tile);
  append(tile);
  EXPECT_EQ(batch.features, expected);

  // 5 positions of text and 4 that are kept free leave room for 9, 6, 4 and 2 tiles: 3 x 2, 2 x 1
  // and one.
  for (const auto& [sequence_length, num_tiles] :
       std::vector<std::pair<int64_t, int64_t>>{{48, 7}, {36, 3}, {25, 3}, {20, 1}}) {
    CaptionOptions shorter = options;
    shorter.sequence_length = sequence_length;
    SampleFacts known, read;
    ASSERT_THAT(CaptionSource::Create(by_header, shorter).value()->ReadFacts(0, known), IsOk());
    ASSERT_THAT(CaptionSource::Create(by_sample, shorter).value()->ReadFacts(0, read), IsOk());
    EXPECT_EQ(known, read);
    EXPECT_EQ(std::ssize(known.modalities[0].sizes), num_tiles) << sequence_length;
    EXPECT_EQ(known.modalities[0].num_tokens, num_tiles * kTokens);
  }
}

}  // namespace
}  // namespace hetero::data
