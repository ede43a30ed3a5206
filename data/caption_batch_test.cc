// Captioned images from shards to microbatches: sources and builders together.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_harness.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/image/image.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;

TEST_F(CaptionBatchTest, RowsAreImageTokensCaptionBytesAndEnd) {
  const auto source = Source();
  LanguageSample scratch;
  LanguageBatch batch;
  ASSERT_THAT(BuildLanguageBatch(*source, SampleOrder::OnePass(kNumSamples).value(),
                                 {.begin = 3, .size = 3}, kFormat, scratch, batch),
              IsOk());
  EXPECT_THAT(batch.num_placeholders, ElementsAre(16, 24, 24));
  int64_t num_loss_tokens = 0;
  for (int b = 0; b < 3; ++b) {
    std::vector<int32_t> tokens(batch.num_placeholders[b], 511);
    std::vector<int32_t> labels(batch.num_placeholders[b] - 1, -100);
    for (const char c : captions_[3 + b] + static_cast<char>(0)) {
      tokens.push_back(c == 0 ? 256 : c);
      labels.push_back(tokens.back());
      ++num_loss_tokens;
    }
    tokens.resize(kSequence, 0);
    labels.resize(kSequence, -100);
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), batch.tokens.begin() + b * kSequence));
    EXPECT_TRUE(std::equal(labels.begin(), labels.end(), batch.labels.begin() + b * kSequence));
    for (int64_t t = 0; t < kSequence; ++t) {
      EXPECT_EQ(batch.loss_mask[b * kSequence + t], labels[t] == -100 ? 0.0f : 1.0f);
    }
  }
  EXPECT_EQ(batch.num_loss_tokens, num_loss_tokens);
}

// Where the size of an image does not depend on how many tokens the caption has, no sample is
// opened for it; elsewhere the caption is read.
TEST_F(CaptionBatchTest, ATokenizersIdsStandInRowsAndFactsCountThem) {
  const auto tokenizer = LoadTokenizer("data/text/testdata/nemotron.json");
  ASSERT_THAT(tokenizer, IsOk());
  const auto by_header = Dataset::Open(root_, "train", {}, {.with_headers = true}).value();
  for (const int64_t sequence_length : {48, 24}) {
    CaptionOptions tiles = Canvases();
    tiles.canvases.clear();
    tiles.sequence_length = sequence_length;
    tiles.tokenizer = *tokenizer;
    tiles.end_id = 2;
    const auto source = CaptionSource::Create(by_header, tiles).value();
    for (int i = 0; i < kNumSamples; ++i) {
      LanguageSample sample;
      ASSERT_THAT(source->ReadLanguage(i, sample), IsOk());
      std::vector<int32_t> ids = Encode(**tokenizer, captions_[i]).value();
      ids.push_back(2);
      EXPECT_EQ(sample.text, ids);
      SampleFacts facts;
      ASSERT_THAT(source->ReadFacts(i, facts), IsOk());
      EXPECT_EQ(sample.NumPlaceholders(), facts.modalities[0].num_tokens);
    }
  }
}

// Both grids and any number of lanes see the same samples, in the same order.
TEST_F(CaptionBatchTest, LanesOfAnyGridJoinToTheSameMicrobatch) {
  const BatchLayout layout = {.global_batch_size = 12, .samples_per_microbatch = 6};
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, 3).value();
  const auto counting = Source(), text = Source(), media = Source();
  LanguageSample scratch;
  LanguageBatch rows;
  MediaBatch pixels;
  for (const int64_t num_lanes : {1, 2, 3, 6}) {
    for (int64_t lane = 0; lane < num_lanes; ++lane) {
      for (int64_t n = 4; n < 10; ++n) {
        const SampleRange range = LaneSamples(layout, {lane, num_lanes}, n / 2, n % 2);
        ASSERT_THAT(BuildLanguageBatch(*text, order, range, kFormat, scratch, rows), IsOk());
        ASSERT_THAT(BuildMediaBatch(*media, order, range, 0, pixels), IsOk());
        EXPECT_EQ(rows.num_placeholders, pixels.num_placeholders);
        std::vector<SampleFacts> facts;
        ASSERT_THAT(ReadFacts(*counting, order, range, kSequence, 1, facts), IsOk());
        size_t image = 0;
        for (int64_t b = 0; b < range.size; ++b) {
          EXPECT_EQ(facts[b].modalities[0].num_tokens, rows.num_placeholders[b]);
          EXPECT_EQ(facts[b].row_length, kSequence);
          ASSERT_EQ(std::ssize(facts[b].modalities[0].sizes), pixels.num_media[b]);
          for (const ImageSize& size : facts[b].modalities[0].sizes)
            EXPECT_EQ(size, pixels.sizes[image++]);
          const int64_t sample = *order.DatasetIndex(range.begin + b);
          EXPECT_EQ(rows.tokens[b * kSequence + rows.num_placeholders[b]], captions_[sample][0]);
        }
        EXPECT_LE(pixels.NumFeatures(), range.size * LimitsOf(Canvases()).max_features);
        EXPECT_EQ(LimitsOf(Canvases()).max_features, 96);
        EXPECT_EQ(range.size, rows.num_samples);
      }
    }
  }
}

TEST_F(CaptionBatchTest, BehindTheEndOfOnePassRowsAreEmpty) {
  const SampleOrder order = SampleOrder::OnePass(kNumSamples).value();
  const auto source = Source();
  LanguageSample scratch;
  LanguageBatch rows;
  MediaBatch pixels;
  const SampleRange last = {.begin = 20, .size = 10};
  ASSERT_THAT(BuildLanguageBatch(*source, order, last, kFormat, scratch, rows), IsOk());
  ASSERT_THAT(BuildMediaBatch(*source, order, last, 0, pixels), IsOk());
  EXPECT_THAT(rows.num_placeholders, ElementsAre(24, 16, 24, 24, 0, 0, 0, 0, 0, 0));
  EXPECT_EQ(rows.num_placeholders, pixels.num_placeholders);
  EXPECT_EQ(pixels.sizes.size(), 4);
  const SampleRange behind = {.begin = 30, .size = 10};
  ASSERT_THAT(BuildLanguageBatch(*source, order, behind, kFormat, scratch, rows), IsOk());
  ASSERT_THAT(BuildMediaBatch(*source, order, behind, 0, pixels), IsOk());
  EXPECT_EQ(rows.num_loss_tokens, 0);
  EXPECT_THAT(rows.tokens, ::testing::Each(0));
  EXPECT_THAT(pixels.cu_seqlens, ElementsAre(0));
  EXPECT_EQ(pixels.NumFeatures(), 0);
}

TEST_F(CaptionBatchTest, BuffersAreReusedOnceTheyAreLargeEnough) {
  const auto source = Source();
  const SampleOrder order = SampleOrder::Shuffled(kNumSamples, 1).value();
  MediaBatch batch;
  batch.features.reserve(4 * 96 * 48);
  const float* const before = batch.features.data();
  for (int64_t n = 0; n < 10; ++n) {
    ASSERT_THAT(BuildMediaBatch(*source, order, {.begin = 4 * n, .size = 4}, 0, batch), IsOk());
    EXPECT_EQ(batch.features.data(), before);
  }
}

}  // namespace
}  // namespace hetero::data
