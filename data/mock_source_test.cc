#include "hetero/data/mock_source.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Lt;
using ::testing::SizeIs;

MockOptions Options() {
  return {.seed = 5,
          .sequence_length = 40,
          .image_tokens = 12,
          .vocabulary_size = 512,
          .image_id = 511,
          .pad_id = 0,
          .num_tiles = 3,
          .patch_size = 8};
}

LanguageBatch Language(const MockOptions& options, SampleRange range) {
  const auto source = MockSource::Create(options).value();
  const SampleOrder order = SampleOrder::OnePass(options.num_samples).value();
  LanguageSample scratch;
  LanguageBatch batch;
  EXPECT_THAT(BuildLanguageBatch(*source, order, range,
                                 {.sequence_length = options.sequence_length,
                                  .vocabulary_size = 512,
                                  .placeholder_ids = {511}},
                                 scratch, batch),
              IsOk());
  return batch;
}

TEST(MockSourceTest, RowsAreImageTokensThenTextWithExactlyThatManyLosses) {
  const LanguageBatch batch = Language(Options(), {.begin = 7, .size = 4});
  EXPECT_EQ(batch.num_loss_tokens, 4 * (40 - 12));
  EXPECT_THAT(batch.num_placeholders, ElementsAre(12, 12, 12, 12));
  for (int64_t b = 0; b < 4; ++b) {
    for (int64_t t = 0; t < 40; ++t) {
      const int32_t token = batch.tokens[b * 40 + t];
      if (t < 12) {
        EXPECT_EQ(token, 511);
      } else {
        EXPECT_THAT(token, AllOf(Ge(1), Lt(511)));
      }
      const bool counts = t >= 11 && t < 39;
      EXPECT_EQ(batch.labels[b * 40 + t], counts ? batch.tokens[b * 40 + t + 1] : kIgnoredLabel);
      EXPECT_EQ(batch.loss_mask[b * 40 + t], counts ? 1.0f : 0.0f);
    }
  }
}

TEST(MockSourceTest, SamplesDependOnSeedSplitAndIndexAlone) {
  const std::vector<int32_t> all = Language(Options(), {.begin = 0, .size = 8}).tokens;
  const std::vector<int32_t> part = Language(Options(), {.begin = 5, .size = 2}).tokens;
  EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + 5 * 40));
  std::set<std::vector<int32_t>> rows;
  for (int64_t b = 0; b < 8; ++b) rows.emplace(all.begin() + b * 40, all.begin() + (b + 1) * 40);
  EXPECT_THAT(rows, SizeIs(8));
  MockOptions other = Options();
  other.seed = 6;
  EXPECT_NE(Language(other, {.begin = 0, .size = 8}).tokens, all);
  other = Options();
  other.split = 1;
  EXPECT_NE(Language(other, {.begin = 0, .size = 8}).tokens, all);
}

TEST(MockSourceTest, TextCoversEveryIdButImageAndPad) {
  MockOptions options = Options();
  options.vocabulary_size = 12;
  options.image_id = 4;
  options.pad_id = 9;
  options.sequence_length = 2000;
  const auto source = MockSource::Create(options).value();
  LanguageSample sample;
  ASSERT_THAT(source->ReadLanguage(3, sample), IsOk());
  EXPECT_THAT(std::set<int32_t>(sample.text.begin(), sample.text.end()),
              ElementsAre(1, 2, 3, 5, 6, 7, 8, 10, 11));
}

TEST(MockSourceTest, TilesArePackedWithTheirSizes) {
  const auto source = MockSource::Create(Options()).value();
  MediaBatch batch;
  ASSERT_THAT(BuildMediaBatch(*source, SampleOrder::OnePass(100).value(), {.begin = 0, .size = 2},
                              0, batch),
              IsOk());
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 16, 32, 48, 64, 80, 96));
  EXPECT_THAT(batch.sizes, AllOf(SizeIs(6), Each(ImageSize{.height = 32, .width = 32})));
  EXPECT_EQ(batch.feature_width, 192);
  EXPECT_THAT(batch.features, AllOf(SizeIs(96 * 192), Each(AllOf(Ge(-1.0f), Lt(1.0f)))));
  EXPECT_THAT(batch.num_placeholders, ElementsAre(12, 12));
  const SourceLimits limits = ImageLimits(Options());
  EXPECT_EQ(limits.feature_width, 192);
  EXPECT_EQ(limits.max_features, 48);
  EXPECT_EQ(limits.max_tokens, 12);
  EXPECT_THAT(limits.sizes, AllOf(SizeIs(3), Each(ImageSize{.height = 32, .width = 32})));
}

TEST(MockSourceTest, TextAlone) {
  const MockOptions options = {.sequence_length = 16, .vocabulary_size = 512, .image_id = 511};
  const LanguageBatch batch = Language(options, {.begin = 0, .size = 2});
  EXPECT_EQ(batch.num_loss_tokens, 2 * 15);
  EXPECT_THAT(batch.tokens, Each(AllOf(Ge(1), Lt(511))));
}

TEST(MockSourceTest, ErrorsNameFieldValueAndRule) {
  const auto error = [](auto change) {
    MockOptions options = Options();
    change(options);
    const absl::Status status = MockSource::Create(options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error([](MockOptions& o) { o.sequence_length = 12; }), HasSubstr("13 or more"));
  EXPECT_THAT(error([](MockOptions& o) { o.num_tiles = 5; }), HasSubstr("such as 10"));
  EXPECT_THAT(error([](MockOptions& o) { o.num_tiles = 0; }), HasSubstr("num_tiles is 0"));
  EXPECT_THAT(error([](MockOptions& o) { o.patch_size = 0; }), HasSubstr("patch_size is 0"));
  const auto sizes = [&](int64_t min_patches, int64_t max_patches) {
    return error([=](MockOptions& o) {
      o.max_images = 2;
      o.min_patches = min_patches;
      o.max_patches = max_patches;
    });
  };
  EXPECT_THAT(sizes(0, 8), HasSubstr("min_patches is 0"));
  EXPECT_THAT(sizes(20, 19), HasSubstr("images of 20 to 19 patches"));
  EXPECT_THAT(sizes(4, 52), HasSubstr("images of 4 to 52 patches, up to 12 tokens a sample"));
  EXPECT_THAT(error([](MockOptions& o) { o.vocabulary_size = 1; }), HasSubstr("no id is left"));
  EXPECT_THAT(error([](MockOptions& o) { o.tile_size = ImageSize{.height = 24, .width = 32}; }),
              HasSubstr("multiples of 16"));
  EXPECT_THAT(error([](MockOptions& o) { o.tile_size = ImageSize{.height = 32, .width = 48}; }),
              HasSubstr("give 18"));
}

}  // namespace
}  // namespace hetero::data
