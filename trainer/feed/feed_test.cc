#include "hetero/trainer/feed/feed.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kSequence = 24;
constexpr int32_t kImageId = 511;
constexpr int32_t kPad = 0;
constexpr int64_t kMicrobatch = 8;  // samples of all lanes
constexpr int64_t kGlobalBatch = 16;

// Samples of different sizes: sample i has 1 + i % 3 images of two tokens, all its pixels are i,
// and i % 4 + 1 text tokens 100 + i.
class SizedSource : public data::SampleSource {
 public:
  explicit SizedSource(int64_t size) : size_(size) {}

  int64_t size() const override { return size_; }
  data::SourceLimits limits(int) const override {
    return {.feature_width = 12, .max_media = 3, .max_features = 24, .max_tokens = 6};
  }
  absl::Status ReadLanguage(int64_t index, data::LanguageSample& out) override {
    out.name = absl::StrCat("sized/", index);
    out.num_placeholders = {2 * (1 + index % 3)};
    out.text.assign(static_cast<size_t>(index % 4 + 1), static_cast<int32_t>(100 + index));
    return absl::OkStatus();
  }
  absl::Status ReadMedia(int64_t index, int, data::MediaBatch& out) override {
    for (int64_t i = 0; i <= index % 3; ++i) {
      std::ranges::fill(out.Add({.height = 4, .width = 8}, 8, 2), static_cast<float>(index));
    }
    return absl::OkStatus();
  }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    data::FactsOf(facts, 0).sizes.assign(static_cast<size_t>(1 + index % 3),
                                         {.height = 4, .width = 8});
    facts.modalities[0].num_tokens = 2 * (1 + index % 3);
    return absl::OkStatus();
  }

 private:
  int64_t size_;
};

template <typename Source>
SampleSet SetOf(data::SampleOrder order, int64_t size) {
  return {.order = order, .open = [size]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
            return std::make_unique<Source>(size);
          }};
}

SampleLimits SizedLimits() {
  return {.modalities = {{.feature_width = 12,
                          .sizes = std::vector<ImageSize>(3, {.height = 4, .width = 8}),
                          .max_features = 24,
                          .max_tokens = 6}}};
}

BatchFeedOptions Options(SampleSet samples, int64_t lane, int64_t num_lanes) {
  return {.reads_tokens = true,
          .reads = {0},
          .reads_features = true,
          .modalities = {{.name = "image", .placeholder_id = kImageId, .form = ImageForm()}},
          .edges = {0},
          .position = {.lane = lane, .num_lanes = num_lanes},
          .counted = {{0, kMicrobatch}},
          .batch = {.global_batch_size = kGlobalBatch, .samples_per_microbatch = kMicrobatch},
          .sequence_length = kSequence,
          .vocabulary_size = 512,
          .pad_token_id = kPad,
          .num_slots = 2,
          .limits = SizedLimits(),
          .samples = std::move(samples)};
}

data::SampleOrder Shuffled(int64_t size) { return data::SampleOrder::Shuffled(size, 3).value(); }

// Of each sample of the whole microbatch, or of some.
std::vector<int64_t> ImageTokens(BatchFeed& feed, int64_t step, int microbatch,
                                 data::SampleRange range = {0, kMicrobatch}) {
  std::vector<int64_t> tokens;
  const std::span<const SampleFacts> facts = feed.Facts(step, microbatch, range).value();
  for (const SampleFacts& sample : facts) {
    tokens.push_back(sample.modalities.empty() ? 0 : sample.modalities[0].num_tokens);
  }
  return tokens;
}

// Everything that reaches the ranks in a microbatch, lanes one after another.
struct Content {
  std::vector<int32_t> tokens;   // in place
  std::vector<int32_t> targets;  // in place, -1 without loss
  std::vector<float> weights;
  std::vector<float> patches;
  std::vector<ImageSize> sizes;

  bool operator==(const Content&) const = default;
};

template <typename T>
void Append(const ConstTensorView& from, std::vector<T>& to) {
  const auto values = from.values<T>();
  to.insert(to.end(), values.begin(), values.end());
}

// The tokens in place, as a stage would see them after its embedding.
std::vector<int32_t> Tokens(const TokenBatch& batch) {
  std::vector<int32_t> tokens(batch.sequences.num_tokens(), -1);
  const auto ids = batch.text_tokens.values<int32_t>();
  const auto text = batch.text_positions.values<int32_t>();
  for (size_t i = 0; i < text.size(); ++i) tokens[text[i]] = ids[i];
  for (const ConstTensorView& positions : batch.modality_positions) {
    for (int32_t t : positions.values<int32_t>()) tokens[t] = kImageId;
  }
  return tokens;
}

std::vector<int32_t> Targets(const TokenBatch& batch) {
  std::vector<int32_t> targets(batch.sequences.num_tokens(), -1);
  const auto positions = batch.loss_positions.values<int32_t>();
  for (size_t i = 0; i < positions.size(); ++i) {
    targets[positions[i]] = batch.loss_targets.values<int32_t>()[i];
  }
  return targets;
}

void Append(const FeedInput& input, Content& content) {
  const std::vector<int32_t> tokens = Tokens(*input.tokens);
  const std::vector<int32_t> targets = Targets(*input.tokens);
  content.tokens.insert(content.tokens.end(), tokens.begin(), tokens.end());
  content.targets.insert(content.targets.end(), targets.begin(), targets.end());
  Append(input.tokens->loss_weights, content.weights);
  Append(input.modalities[0].features, content.patches);
  content.sizes.insert(content.sizes.end(), input.modalities[0].sizes.begin(),
                       input.modalities[0].sizes.end());
}

std::vector<Content> ReadSteps(const SampleSet& samples, int64_t num_lanes, int64_t num_steps) {
  std::vector<Content> contents(num_steps * kGlobalBatch / kMicrobatch);
  for (int64_t lane = 0; lane < num_lanes; ++lane) {
    MemoryLedger ledger;
    StreamWithWorkspace stream;
    auto feed = BatchFeed::Create(Options(samples, lane, num_lanes), ledger);
    EXPECT_THAT(feed, IsOk());
    for (size_t i = 0; i < contents.size(); ++i) {
      const auto input =
          feed->Load(static_cast<int>(i % 2), static_cast<int64_t>(i / 2), i % 2, *stream);
      EXPECT_THAT(input, IsOk());
      Append(*input, contents[i]);
    }
  }
  return contents;
}

TEST(BatchFeedTest, EveryNumberOfLanesReadsTheSameSamples) {
  const SampleSet samples = SetOf<SizedSource>(Shuffled(29), 29);
  const std::vector<Content> alone = ReadSteps(samples, 1, 3);
  for (const Content& content : alone) {
    EXPECT_THAT(content.tokens, SizeIs(kMicrobatch * kSequence));
    EXPECT_FALSE(content.patches.empty());
  }
  EXPECT_NE(alone[0], alone[1]);
  for (int64_t num_lanes : {2, 4}) EXPECT_EQ(ReadSteps(samples, num_lanes, 3), alone) << num_lanes;
}

TEST(BatchFeedTest, PositionsNameEveryTokenOnceAndRowsAreSequences) {
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed =
      BatchFeed::Create(Options(SetOf<SizedSource>(Shuffled(29), 29), 1, 2), ledger).value();
  for (int microbatch : {0, 1}) {
    const FeedInput input = feed.Load(0, 5, microbatch, *stream).value();
    const TokenBatch& batch = *input.tokens;
    EXPECT_THAT(batch.sequences.cu_seqlens, ElementsAre(0, 24, 48, 72, 96));
    EXPECT_TRUE(batch.sequences.sequence_index.is_null());
    EXPECT_EQ(batch.sequences.num_tokens(), 4 * kSequence);

    const std::vector<int32_t> tokens = Tokens(batch);
    ASSERT_THAT(batch.modality_positions, SizeIs(1));
    const auto image = batch.modality_positions[0].values<int32_t>();
    const auto text = batch.text_positions.values<int32_t>();
    EXPECT_TRUE(std::ranges::is_sorted(image));
    EXPECT_TRUE(std::ranges::is_sorted(text));
    std::vector<int32_t> all(image.begin(), image.end());
    all.insert(all.end(), text.begin(), text.end());
    std::ranges::sort(all);
    std::vector<int32_t> expected(4 * kSequence);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);

    const std::vector<int32_t> targets = Targets(batch);
    for (size_t t = 0; t < targets.size(); ++t) {
      if (targets[t] != -1) {
        EXPECT_EQ(targets[t], tokens[t + 1]);
      }
    }
    EXPECT_THAT(batch.loss_weights.values<float>(), Each(1.0f));
    EXPECT_EQ(batch.loss_weights.dim(0), std::ranges::count_if(tokens, [](int32_t id) {
                return id != kImageId && id != kPad;
              }));

    // Padding is what lies behind the tokens of a row.
    const SequenceBatch& sequences = batch.sequences;
    const auto on_device = sequences.device_token_offsets.values<int32_t>();
    EXPECT_TRUE(std::ranges::equal(sequences.token_offsets, on_device));
    ASSERT_THAT(on_device, SizeIs(5));
    for (int64_t row = 0; row < 4; ++row) {
      const int64_t count = on_device[row + 1] - on_device[row];
      const auto places = std::span(tokens).subspan(row * kSequence, kSequence);
      EXPECT_THAT(places.subspan(count), Each(kPad));
      EXPECT_THAT(places.first(count), Each(testing::Ne(kPad)));
    }

    // The rows that cross the edge belong to this lane's half of all samples.
    const std::vector<int64_t> rows = ImageTokens(feed, 5, microbatch);
    ASSERT_THAT(rows, SizeIs(kMicrobatch));
    EXPECT_EQ(std::accumulate(rows.begin() + 4, rows.end(), int64_t{0}),
              static_cast<int64_t>(image.size()));
    EXPECT_EQ(input.modalities[0].features.dim(0), 4 * static_cast<int64_t>(image.size()));
  }
}

TEST(BatchFeedTest, OnePassGivesEverySampleOnceThenPadding) {
  constexpr int64_t kSize = 21;  // ends in the middle of a lane's microbatch
  const SampleSet samples = SetOf<SizedSource>(data::SampleOrder::OnePass(kSize).value(), kSize);
  std::vector<int32_t> seen;
  for (int64_t lane : {0, 1}) {
    MemoryLedger ledger;
    StreamWithWorkspace stream;
    BatchFeed feed = BatchFeed::Create(Options(samples, lane, 2), ledger).value();
    // Evaluations follow one another, each from the first sample on.
    for (int pass = 0; pass < 2; ++pass) {
      for (int i = 0; i < 4; ++i) {
        const FeedInput input = feed.Load(0, i / 2, i % 2, *stream).value();
        const std::vector<int32_t> tokens = Tokens(*input.tokens);
        const std::vector<int32_t> targets = Targets(*input.tokens);
        const std::vector<int64_t> rows = ImageTokens(feed, i / 2, i % 2);
        int64_t num_patches = 0;
        for (int64_t row = 0; row < 4; ++row) {
          const int64_t global = i * kMicrobatch + lane * 4 + row;
          const int64_t num_rows = rows[lane * 4 + row];
          num_patches += 4 * num_rows;
          if (global < kSize) {
            seen.push_back(tokens[row * kSequence + num_rows] - 100);
            continue;
          }
          EXPECT_EQ(num_rows, 0);
          const auto offsets = input.tokens->sequences.token_offsets;
          EXPECT_EQ(offsets[row + 1], offsets[row]);
          EXPECT_THAT(std::span(targets).subspan(row * kSequence, kSequence), Each(-1));
          EXPECT_THAT(std::span(tokens).subspan(row * kSequence, kSequence), Each(kPad));
        }
        EXPECT_EQ(input.modalities[0].features.dim(0), num_patches);
      }
    }
  }
  std::ranges::sort(seen);
  std::vector<int32_t> expected;
  for (int32_t i = 0; i < kSize; ++i) expected.insert(expected.end(), 2, i);
  EXPECT_EQ(seen, expected);
}

TEST(BatchFeedTest, SlotsKeepTheirMicrobatchAndAnyRequestIsAnswered) {
  const SampleSet samples = SetOf<SizedSource>(Shuffled(29), 29);
  const std::vector<Content> expected = ReadSteps(samples, 1, 3);
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed = BatchFeed::Create(Options(samples, 0, 1), ledger).value();
  const FeedInput kept = feed.Load(0, 2, 1, *stream).value();
  Content content;
  Append(feed.Load(1, 1, 0, *stream).value(), content);
  EXPECT_EQ(content, expected[2]);
  content = {};
  Append(kept, content);
  EXPECT_EQ(content, expected[5]);
}

TEST(BatchFeedTest, ShapeOnlyDeviceTakesTheSameBytesAndGivesTheLargestMicrobatch) {
  for (const auto& [tokens, images] : {std::pair(true, true), {true, false}, {false, true}}) {
    BatchFeedOptions options = Options(SetOf<SizedSource>(Shuffled(29), 29), 0, 2);
    options.reads_tokens = tokens;
    if (!images) options.reads.clear();
    MemoryLedger real;
    BatchFeed real_feed = BatchFeed::Create(options, real).value();
    options.device = {.kind = DeviceKind::kShapeOnly};
    options.samples.reset();
    MemoryLedger predicted;
    StreamWithWorkspace stream(options.device);
    BatchFeed feed = BatchFeed::Create(options, predicted).value();
    EXPECT_EQ(predicted, real);
    EXPECT_GT(real.bytes(MemoryLabel::kData), 0);
    EXPECT_EQ(real.bytes(MemoryLabel::kData), real.total_bytes());

    const FeedInput input = feed.Load(1, 7, 1, *stream).value();
    EXPECT_EQ(input.tokens != nullptr, tokens);
    EXPECT_EQ(!input.modalities.empty(), images);
    EXPECT_THAT(ImageTokens(feed, 7, 1), ElementsAreArray(std::vector<int64_t>(8, 6)));
    if (tokens) {
      EXPECT_EQ(input.tokens->loss_positions.dim(0), 4 * kSequence);
      EXPECT_EQ(input.tokens->modality_positions[0].dim(0), feed.max_rows(0));
      EXPECT_EQ(input.tokens->text_positions.dim(0), 4 * (kSequence - 6));
    }
    if (images) {
      EXPECT_THAT(input.modalities[0].sizes, SizeIs(12));
      EXPECT_EQ(input.modalities[0].features.dim(0), 4 * 24);
    }
  }
}

TEST(BatchFeedTest, ModelsWithoutImagesEmbedEveryToken) {
  const data::MockOptions mock = {.num_samples = 100,
                                  .sequence_length = kSequence,
                                  .image_tokens = 0,
                                  .vocabulary_size = 512,
                                  .image_id = -1,
                                  .pad_id = kPad};
  const SampleSet samples = {
      .order = Shuffled(100),
      .open = [mock]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
        return data::MockSource::Create(mock);
      }};
  BatchFeedOptions options = Options(samples, 0, 2);
  options.reads.clear();
  options.modalities.clear();
  options.edges.clear();
  options.limits = {};
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed = BatchFeed::Create(options, ledger).value();
  const FeedInput input = feed.Load(0, 0, 0, *stream).value();
  EXPECT_EQ(input.tokens->text_positions.dim(0), 4 * kSequence);
  EXPECT_THAT(input.tokens->modality_positions, IsEmpty());
  EXPECT_EQ(input.tokens->loss_positions.dim(0), 4 * (kSequence - 1));
  EXPECT_THAT(ImageTokens(feed, 0, 0), Each(0));
}

// Stages behind the first of an encoder know the sizes of images whose patches they never read.
TEST(BatchFeedTest, SizesOfImagesNeedNoPixels) {
  const SampleSet samples = SetOf<SizedSource>(Shuffled(29), 29);
  BatchFeedOptions options = Options(samples, 1, 2);
  options.reads_tokens = false;
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed first = BatchFeed::Create(options, ledger).value();
  options.reads_features = false;
  MemoryLedger none;
  BatchFeed second = BatchFeed::Create(options, none).value();
  EXPECT_EQ(none.total_bytes(), 0);
  for (int i = 0; i < 4; ++i) {
    const FeedInput patches = first.Load(0, i / 2, i % 2, *stream).value();
    const FeedInput sizes = second.Load(0, i / 2, i % 2, *stream).value();
    EXPECT_THAT(sizes.modalities[0].sizes, ElementsAreArray(patches.modalities[0].sizes));
    EXPECT_TRUE(sizes.modalities[0].features.is_null());
  }
}

// Sample 13 writes one image token more than its images give.
class TypoSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadLanguage(int64_t index, data::LanguageSample& out) override {
    absl::Status status = SizedSource::ReadLanguage(index, out);
    if (index == 13) out.text.front() = kImageId;
    return status;
  }
};

// Sample 13 is damaged.
class DamagedSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    if (index == 13) return absl::DataLossError("shard a.tar, sample 13: bad pixels");
    return SizedSource::ReadMedia(index, modality, out);
  }
};

// Sample 13 has more than the limits say.
class LargeSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    absl::Status status = SizedSource::ReadFacts(index, facts);
    if (index == 13) facts.modalities[0].num_tokens = 7;
    return status;
  }
};

template <typename Source>
absl::Status LoadSample13() {
  const SampleSet samples = SetOf<Source>(data::SampleOrder::OnePass(29).value(), 29);
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed = BatchFeed::Create(Options(samples, 1, 2), ledger).value();
  EXPECT_THAT(feed.Load(0, 0, 0, *stream), IsOk());
  return feed.Load(0, 0, 1, *stream).status();
}

TEST(BatchFeedTest, ErrorsNameThePlaceTheSampleAndBothNumbers) {
  EXPECT_THAT(LoadSample13<TypoSource>(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "lane 1 of 2: step 0, microbatch 1: sample sized/13 has 5 image tokens in "
                       "its text, its image data give 4 rows"));
  EXPECT_THAT(LoadSample13<DamagedSource>(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("lane 1 of 2"), HasSubstr("step 0, microbatch 1"),
                             HasSubstr("shard a.tar, sample 13: bad pixels"))));
  EXPECT_THAT(LoadSample13<LargeSource>(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("sample 13 of the data set has image data of 7 tokens, the run is "
                                 "sized for 6 a sample")));
}

class CountingSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    ++num_facts;
    return SizedSource::ReadFacts(index, facts);
  }
  static inline int num_facts = 0;
};

// Lane 1 of 4 has samples 2 and 3; it wants to know of 3, 6 and 7 as well.
TEST(BatchFeedTest, ReadsFactsOfWhatIsCountedAlone) {
  const SampleSet samples = SetOf<CountingSource>(Shuffled(29), 29);
  MemoryLedger ledger;
  BatchFeed all = BatchFeed::Create(Options(samples, 0, 1), ledger).value();
  const std::vector<int64_t> tokens = ImageTokens(all, 1, 1);
  BatchFeedOptions options = Options(samples, 1, 4);
  options.counted = {{6, 2}, {3, 1}};
  BatchFeed some = BatchFeed::Create(options, ledger).value();
  CountingSource::num_facts = 0;
  EXPECT_THAT(ImageTokens(some, 1, 1, {6, 2}), ElementsAre(tokens[6], tokens[7]));
  EXPECT_THAT(ImageTokens(some, 1, 1, {2, 2}), ElementsAre(tokens[2], tokens[3]));
  EXPECT_EQ(CountingSource::num_facts, 4);
}

TEST(BatchFeedTest, RefusesLanesThatDoNotDivideTheMicrobatch) {
  MemoryLedger ledger;
  EXPECT_THAT(BatchFeed::Create(Options(SetOf<SizedSource>(Shuffled(29), 29), 0, 3), ledger),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 lanes")));
}

}  // namespace
}  // namespace hetero
