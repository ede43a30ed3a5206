#include "hetero/trainer/feed/feed.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/mock_source.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/feed_testing.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using namespace feed_testing;  // NOLINT: made for these tests

using ::absl_testing::StatusIs;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::SizeIs;

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

// Keeps the numbers of the samples whose facts were read.
class ListingSource : public SizedSource {
 public:
  using SizedSource::SizedSource;

  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    {
      const absl::MutexLock lock(&mutex);
      read.insert(index);
    }
    return SizedSource::ReadFacts(index, facts);
  }
  static inline absl::Mutex mutex;
  static inline std::set<int64_t> read;
};

// Lane 1 of 4 has samples 2 and 3 of a microbatch of 8; it wants to know of 3, 6 and 7 as well, in
// this microbatch and in those that are read ahead.
TEST(BatchFeedTest, ReadsFactsOfWhatIsCountedAlone) {
  const data::SampleOrder order = data::SampleOrder::OnePass(64).value();
  MemoryLedger ledger;
  BatchFeed all = BatchFeed::Create(Options(SetOf<SizedSource>(order, 64), 0, 1), ledger).value();
  const std::vector<int64_t> tokens = ImageTokens(all, 1, 1);
  BatchFeedOptions options = Options(SetOf<ListingSource>(order, 64), 1, 4);
  options.counted = {{6, 2}, {3, 1}};
  {
    BatchFeed some = BatchFeed::Create(options, ledger).value();
    EXPECT_THAT(ImageTokens(some, 1, 1, {6, 2}), ElementsAre(tokens[6], tokens[7]));
    EXPECT_THAT(ImageTokens(some, 1, 1, {2, 2}), ElementsAre(tokens[2], tokens[3]));
  }
  EXPECT_THAT(ListingSource::read, IsSupersetOf({26, 27, 30, 31}));
  for (const int64_t index : ListingSource::read) {
    EXPECT_THAT(index % 8, AnyOf(2, 3, 6, 7));
  }
}

TEST(BatchFeedTest, RefusesLanesThatDoNotDivideTheMicrobatch) {
  MemoryLedger ledger;
  EXPECT_THAT(BatchFeed::Create(Options(SetOf<SizedSource>(Shuffled(29), 29), 0, 3), ledger),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 lanes")));
}

}  // namespace
}  // namespace hetero
