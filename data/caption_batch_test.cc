// Captioned images from shards to microbatches: sources and builders together.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/caption_source.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/resize.h"
#include "hetero/data/image/tiles.h"
#include "hetero/data/packing/plan_rows.h"
#include "hetero/data/row_table.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/writer.h"
#include "hetero/data/text/load_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/prepare.h"

namespace hetero::data {
namespace {

namespace fs = std::filesystem;
using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kNumSamples = 24;
constexpr int64_t kSequence = 48;
const RowFormat kFormat = {
    .sequence_length = kSequence, .vocabulary_size = 512, .placeholder_ids = {511}, .pad_id = 0};

CaptionOptions Canvases() {
  return {
      .sequence_length = kSequence,
      .tiling = {.patch_size = 4},
      .canvases = {
          {.height = 32, .width = 32}, {.height = 32, .width = 48}, {.height = 48, .width = 32}}};
}

class CaptionBatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(::testing::TempDir()) /
            ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(root_);
    fs::create_directories(root_);
    std::mt19937_64 random = FreshGenerator();
    TarWriter writer = TarWriter::Create(root_ / "a.tar").value();
    for (int i = 0; i < kNumSamples; ++i) {
      Image image;
      image.Reshape({.height = 28, .width = 28}, 1);
      for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random());
      images_.push_back(image.pixels);
      captions_.push_back(std::string(1 + i % 7, static_cast<char>('a' + i)));
      const std::string key = absl::StrFormat("k%02d", i);
      ASSERT_THAT(writer.Add(key + ".png", EncodePng(image, 0).value()), IsOk());
      ASSERT_THAT(writer.Add(key + ".txt", captions_.back()), IsOk());
    }
    ASSERT_THAT(writer.Close(), IsOk());
    ASSERT_THAT(PrepareDataset(root_, {.splits = {{"train", {"a.tar"}}}, .fields = {}}), IsOk());
  }

  std::unique_ptr<CaptionSource> Source(const CaptionOptions& options = Canvases()) const {
    return CaptionSource::Create(Dataset::Open(root_, "train").value(), options).value();
  }

  // Flips bytes inside a member's payload; its header stays whole.
  void Damage(std::string_view key, std::string_view extension) {
    std::fstream file(root_ / "a.tar", std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const size_t header = bytes.find(absl::StrCat(key, ".", extension));
    ASSERT_NE(header, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(header + 512 + 60));
    file << "damaged!";
  }

  fs::path root_;
  std::vector<std::vector<uint8_t>> images_;
  std::vector<std::string> captions_;
};

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

// Each sample stands in its row as it does in one of its own, behind those before it.
TEST_F(CaptionBatchTest, PackedRowsAreTheirSamplesOneAfterAnother) {
  CaptionOptions tiles = Canvases();
  tiles.canvases.clear();
  const auto source = Source(tiles);
  constexpr int64_t kRow = 96;
  RowFormat format = kFormat;
  format.sequence_length = kRow;
  const RowPlanOptions options = {.limits = {.length = kRow, .num_patches = 300, .num_images = 3},
                                  .buffer_size = 8,
                                  .seed = FreshSeed(),
                                  .num_modalities = 1,
                                  .patches_per_token = 4};
  const RowPlan plan = PlanRows(*source, options, {}).value();
  const SampleOrder order = SampleOrder::Packed(plan.rows, 5).value();
  std::vector<int> seen(kNumSamples, 0);
  int64_t num_tokens = 0;
  LanguageSample scratch;
  LanguageBatch row, alone;
  MediaBatch media;
  std::vector<SampleFacts> facts;
  for (int64_t n = 0; n < plan.rows->num_rows(); ++n) {
    const RowSamples samples = order.RowAt(n);
    ASSERT_LE(samples.size(), 3);
    ASSERT_THAT(BuildLanguageBatch(*source, order, {n, 1}, format, scratch, row), IsOk());
    ASSERT_THAT(BuildMediaBatch(*source, order, {n, 1}, 0, media), IsOk());
    ASSERT_THAT(ReadFacts(*source, order, {n, 1}, kRow, 1, facts), IsOk());
    const ModalityFacts& images = facts[0].modalities[0];
    EXPECT_THAT(media.num_media, ElementsAre(samples.size()));
    EXPECT_EQ(media.sizes, images.sizes);
    EXPECT_LE(media.NumFeatures(), 300);
    ASSERT_EQ(images.runs.size(), samples.size());
    std::vector<int32_t> borders;
    int64_t begin = 0;
    for (size_t i = 0; i < samples.size(); ++i) {
      const int64_t index = samples[i].index;
      ++seen[index];
      ASSERT_THAT(BuildLanguageBatch(*source, SampleOrder::OnePass(kNumSamples).value(), {index, 1},
                                     kFormat, scratch, alone),
                  IsOk());
      const int64_t length = alone.num_tokens[0];
      EXPECT_EQ(samples[i].length, length);
      EXPECT_EQ(images.runs[i].first, begin);
      EXPECT_EQ(images.runs[i].count, alone.num_placeholders[0]);
      for (int64_t t = 0; t < length; ++t) {
        EXPECT_EQ(row.tokens[begin + t], alone.tokens[t]);
        EXPECT_EQ(row.labels[begin + t], alone.labels[t]);
        EXPECT_EQ(row.loss_mask[begin + t], alone.loss_mask[t]);
      }
      if (samples.size() > 1 || i == 0) borders.push_back(static_cast<int32_t>(begin));
      begin += length;
    }
    if (samples.size() > 1 && begin < kRow) borders.push_back(static_cast<int32_t>(begin));
    borders.push_back(kRow);
    EXPECT_EQ(row.borders, borders);
    EXPECT_EQ(row.num_tokens[0], begin);
    num_tokens += begin;
  }
  EXPECT_EQ(seen, std::vector<int>(kNumSamples, 1));
  EXPECT_EQ(plan.fill_rate,
            static_cast<double>(num_tokens) / static_cast<double>(plan.rows->num_rows() * kRow));
  EXPECT_GT(plan.rows->num_rows(), kNumSamples / 4);
}

TEST_F(CaptionBatchTest, ASampleThatNoRowHoldsIsNamedAndOneThatChangedToo) {
  const auto source = Source();
  const RowPlanOptions options = {.limits = {.length = kSequence, .num_patches = 10},
                                  .num_modalities = 1,
                                  .patches_per_token = 4};
  EXPECT_THAT(PlanRows(*source, options, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a row holds 48, 10 and 0")));
  RowTable rows;
  rows.Add(std::vector<RowSample>{{.index = 1, .length = 7}});
  LanguageSample scratch;
  LanguageBatch batch;
  EXPECT_THAT(
      BuildLanguageBatch(*source, SampleOrder::Packed(std::make_shared<RowTable>(rows), 1).value(),
                         {0, 1}, kFormat, scratch, batch),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr("k01"), HasSubstr("it had 7 when rows were planned"))));
}

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
      CaptionSource::Create(Dataset::Open(root_, "train", {}, {.with_headers = true}).value(), tiles)
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

TEST_F(CaptionBatchTest, PixelDamageStopsTheEncoderAndNamesTheMember) {
  Damage("k05", "png");
  const SampleOrder order = SampleOrder::OnePass(kNumSamples).value();
  const auto source = Source();
  MediaBatch pixels;
  EXPECT_THAT(BuildMediaBatch(*source, order, {.begin = 0, .size = 4}, 0, pixels), IsOk());
  EXPECT_THAT(
      BuildMediaBatch(*source, order, {.begin = 4, .size = 2}, 0, pixels),
      StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr("shard a.tar"), HasSubstr("sample k05"),
                                                  HasSubstr("member k05.png"))));
  // Language ranks never look at pixels; they learn of the failure from the communicators.
  LanguageSample scratch;
  LanguageBatch rows;
  EXPECT_THAT(BuildLanguageBatch(*source, order, {.begin = 0, .size = 12}, kFormat, scratch, rows),
              IsOk());
}

TEST_F(CaptionBatchTest, LongCaptionsAreRefusedByKeyLengthAndLimit) {
  CaptionOptions options = Canvases();
  options.sequence_length = 30;  // 24 image tokens leave 6: k04 needs 5 + 1, k05 6 + 1
  const auto source = Source(options);
  LanguageSample sample;
  EXPECT_THAT(source->ReadLanguage(4, sample), IsOk());
  const auto refused =
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("k05"), HasSubstr("24 image tokens and 7 text"), HasSubstr("30")));
  EXPECT_THAT(source->ReadLanguage(5, sample), refused);
  MediaBatch batch;
  batch.Clear(48);
  batch.BeginSample();
  EXPECT_THAT(source->ReadMedia(5, 0, batch), refused);

  LanguageBatch rows;
  EXPECT_THAT(BuildLanguageBatch(*Source(), SampleOrder::OnePass(kNumSamples).value(),
                                 {.begin = 5, .size = 1},
                                 {.sequence_length = 30, .vocabulary_size = 512}, sample, rows),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("a.tar/k05"), HasSubstr("31 positions"),
                             HasSubstr("length is 30"))));
}

TEST_F(CaptionBatchTest, ATokenOutsideTheVocabularyIsNamedWithItsSample) {
  LanguageSample sample;
  LanguageBatch rows;
  RowFormat format = kFormat;
  format.vocabulary_size = 'z';  // the captions' letters are below, their end is not
  EXPECT_THAT(
      BuildLanguageBatch(*Source(), SampleOrder::OnePass(kNumSamples).value(),
                         {.begin = 3, .size = 2}, format, sample, rows),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("a.tar/k03"), HasSubstr("has the id 256"), HasSubstr("0 to 121"))));
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

TEST_F(CaptionBatchTest, OptionsAreCheckedByName) {
  const auto dataset = Dataset::Open(root_, "train").value();
  CaptionOptions options = Canvases();
  options.canvases[1].width = 44;
  EXPECT_THAT(CaptionSource::Create(dataset, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiples of 8")));
  options = Canvases();
  options.canvases.clear();
  options.tiling.tiles = TileOptions{.size = 20, .max_tiles = 4};
  EXPECT_THAT(CaptionSource::Create(dataset, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tiling: tiles: size is 20 pixels; it is a multiple of 8")));
  options.tiling.tiles->size = 16;
  options.tiling.thumbnails = true;
  EXPECT_THAT(CaptionSource::Create(dataset, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tiles.thumbnail")));
  options = Canvases();
  options.canvases[2] = {.height = 24, .width = 32};
  LanguageSample sample;
  EXPECT_THAT(CaptionSource::Create(dataset, options).value()->ReadLanguage(2, sample),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("k02.png"), HasSubstr("28 x 28"))));
}

}  // namespace
}  // namespace hetero::data
