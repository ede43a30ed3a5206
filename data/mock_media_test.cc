// Images and clips of mock samples: their sizes, their pixels and where rows have them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::SizeIs;

// Images as photographs have them, from small to large.
MockOptions LongTailed() {
  return {.seed = 9,
          .sequence_length = 8192,
          .image_tokens = 6000,
          .vocabulary_size = 512,
          .image_id = 511,
          .max_images = 4,
          .min_patches = 1024,
          .max_patches = 13312,
          .patch_size = 16};
}

TEST(MockMediaTest, SizesHaveALongTailWithinTheirBounds) {
  const MockOptions options = LongTailed();
  const auto source = MockSource::Create(options).value();
  const SourceLimits limits = ImageLimits(options);
  std::vector<int64_t> patches;
  std::set<size_t> counts;
  for (int64_t index = 0; index < 4000; ++index) {
    SampleFacts facts;
    ASSERT_THAT(source->ReadFacts(index, facts), IsOk());
    const ModalityFacts& images = facts.modalities[0];
    EXPECT_THAT(images.sizes, SizeIs(AllOf(Ge(1u), testing::Le(4u))));
    counts.insert(images.sizes.size());
    int64_t sum = 0;
    for (const ImageSize& size : images.sizes) {
      patches.push_back(size.Area() / 256);
      sum += patches.back();
      EXPECT_THAT(size.width - size.height, testing::AnyOf(0, 32));
    }
    EXPECT_EQ(sum, 4 * images.num_tokens);
    EXPECT_LE(images.num_tokens, limits.max_tokens);
    EXPECT_THAT(images.runs, ElementsAre(IndexRange{0, images.num_tokens}));
  }
  EXPECT_EQ(counts.size(), 4u);
  std::ranges::sort(patches);
  EXPECT_GE(patches.front(), 1024);
  EXPECT_LE(patches.back(), 13312);
  EXPECT_GT(patches.back(), 12000);
  // 1 / x^2 from a to b: the median is 2 a b / (a + b), 1902, the mean a b ln(b / a) / (b - a),
  // 2845. Whole squares are less, by 2 % in the mean, and large images have room less often.
  EXPECT_NEAR(static_cast<double>(patches[patches.size() / 2]), 1850, 100);
  EXPECT_EQ(limits.max_tokens, 6000);
  EXPECT_EQ(limits.max_features, 24000);
  EXPECT_THAT(limits.sizes, SizeIs(4));
  EXPECT_EQ(limits.sizes[0], (ImageSize{.height = 57 * 32, .width = 58 * 32}));
}

// Whoever reads some images of a sample reads what is in all of them.
TEST(MockMediaTest, ImagesThatAreNotWantedArePassedOver) {
  MockOptions options = LongTailed();
  options.min_patches = 4;
  options.max_patches = 64;
  options.max_images = 3;
  const auto source = MockSource::Create(options).value();
  const SampleOrder order = SampleOrder::OnePass(100).value();
  for (int64_t place = 0; place < 20; ++place) {
    MediaBatch all;
    ASSERT_THAT(BuildMediaBatch(*source, order, {place, 1}, 0, all), IsOk());
    const size_t count = all.sizes.size();
    std::vector<float> joined;
    for (size_t i = 0; i < count; ++i) {
      std::vector<bool> wanted(count);
      wanted[i] = true;
      MediaBatch one;
      ASSERT_THAT(BuildWantedMedia(*source, order, place, 0, wanted, one), IsOk());
      EXPECT_THAT(one.sizes, ElementsAre(all.sizes[i]));
      EXPECT_THAT(one.num_placeholders, ElementsAre(all.media_tokens[i]));
      joined.insert(joined.end(), one.features.begin(), one.features.end());
    }
    EXPECT_EQ(joined, all.features);
  }
}

TEST(NearestSquareTileTest, AgreesWithTheReferenceGrids) {
  const auto tile = [](int64_t rows, int64_t columns) {
    return IsOkAndHolds(
        ImageSize{.height = static_cast<int>(rows * 16), .width = static_cast<int>(columns * 16)});
  };
  EXPECT_THAT(NearestSquareTile(4096, 16, true), tile(128, 128));
  EXPECT_THAT(NearestSquareTile(100, 16, true), tile(20, 20));
  EXPECT_THAT(NearestSquareTile(7, 16, true), tile(2, 14));
  EXPECT_THAT(NearestSquareTile(6, 16, true), tile(4, 6));
  EXPECT_THAT(NearestSquareTile(1, 16, true), tile(2, 2));
  EXPECT_THAT(NearestSquareTile(7, 16, false), tile(1, 7));
  EXPECT_THAT(NearestSquareTile(12, 16, false), tile(3, 4));
}

TEST(NearestSquareTileTest, SidesThatHaveNoNumberAreRefused) {
  for (const int64_t number : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                               int64_t{1} << 32, std::numeric_limits<int64_t>::max()}) {
    EXPECT_THAT(NearestSquareTile(number, 16, true), StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(NearestSquareTile(16, number, true), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  // A prime: the only grid is one row.
  EXPECT_THAT(NearestSquareTile(16'777'213, 1024, false),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Clips and images come and go by the seed.
MockOptions WithClips() {
  return {.sequence_length = 48,
          .image_tokens = 4,
          .vocabulary_size = 512,
          .image_id = 511,
          .audio_id = 510,
          .image_percent = 50,
          .audio_percent = 50,
          .num_mels = 3,
          .min_frames = 5,
          .max_frames = 20,
          .patch_size = 2};
}

// Facts of two modalities say which tokens of a row stand for which of them.
TEST(MockMediaTest, FactsTellWhereARowHasItsPlaceholders) {
  const auto source = MockSource::Create(WithClips()).value();
  const SampleOrder order = SampleOrder::OnePass(100).value();
  constexpr SampleRange kRange = {.begin = 70, .size = 40};  // the last ten are behind the end
  const std::vector<int32_t> ids = {511, 510};
  LanguageSample scratch;
  LanguageBatch batch;
  ASSERT_THAT(
      BuildLanguageBatch(*source, order, kRange,
                         {.sequence_length = 48, .vocabulary_size = 512, .placeholder_ids = ids},
                         scratch, batch),
      IsOk());
  std::vector<SampleFacts> facts;
  for (int pass = 0; pass < 2; ++pass) {
    ASSERT_THAT(ReadFacts(*source, order, kRange, 48, 2, facts), IsOk());
    for (int64_t b = 0; b < kRange.size; ++b) {
      for (size_t m = 0; m < ids.size(); ++m) {
        std::vector<int64_t> told, found;
        for (const IndexRange& run : facts[b].modalities[m].runs) {
          for (int64_t t = run.first; t < run.end(); ++t) told.push_back(t);
        }
        for (int64_t t = 0; t < 48; ++t) {
          if (batch.tokens[b * 48 + t] == ids[m]) found.push_back(t);
        }
        EXPECT_EQ(told, found) << b;
        EXPECT_EQ(std::ssize(told), facts[b].modalities[m].num_tokens);
      }
    }
  }
}

// Facts, text and frames tell the same of a sample.
TEST(MockMediaTest, FactsOfClipsAreThoseOfTextAndFrames) {
  const auto source = MockSource::Create(WithClips()).value();
  int kinds[2][2] = {};
  for (int64_t index = 0; index < 200; ++index) {
    SampleFacts facts = {.modalities = std::vector<ModalityFacts>(2)};
    ASSERT_THAT(source->ReadFacts(index, facts), IsOk());
    const ModalityFacts& clips = facts.modalities[1];
    ++kinds[facts.modalities[0].num_tokens > 0][clips.num_tokens > 0];
    LanguageSample text;
    ASSERT_THAT(source->ReadLanguage(index, text), IsOk());
    const int64_t placeholders = facts.modalities[0].num_tokens + clips.num_tokens;
    EXPECT_EQ(std::ssize(text.text), 48 - placeholders);
    for (const int32_t id : text.text) EXPECT_TRUE(id >= 1 && id < 510) << id;
    MediaBatch frames;
    frames.Clear(source->feature_width(1));
    frames.BeginSample();
    ASSERT_THAT(source->ReadMedia(index, 1, frames), IsOk());
    EXPECT_EQ(frames.sizes, clips.sizes);
    EXPECT_EQ(frames.num_placeholders[0], clips.num_tokens);
    if (clips.sizes.empty()) continue;
    const int64_t length = clips.sizes[0].height;
    EXPECT_GE(length, 5);
    EXPECT_LE(length, 20);
    EXPECT_EQ(clips.num_tokens, (length + 1) / 2);
    EXPECT_EQ(std::ssize(frames.features), 3 * length);
  }
  for (const auto& row : kinds) {
    for (const int count : row) EXPECT_GT(count, 20);
  }
}

}  // namespace
}  // namespace hetero::data
