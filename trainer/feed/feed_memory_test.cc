// What a feed allocates, and when.

#include <cstdint>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/feed_testing.h"

namespace hetero {
namespace {

using namespace feed_testing;  // NOLINT: made for these tests

using ::testing::ElementsAreArray;
using ::testing::SizeIs;

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
      EXPECT_EQ(input.tokens->modality_positions[0].dim(0), options.max_rows(0));
      EXPECT_EQ(options.max_own_rows(0), options.max_rows(0));
      EXPECT_EQ(input.tokens->text_positions.dim(0), 4 * (kSequence - 6));
    }
    if (images) {
      EXPECT_THAT(input.modalities[0].sizes, SizeIs(12));
      EXPECT_EQ(input.modalities[0].features.dim(0), 4 * 24);
    }
  }
}

// Where ranks share the tokens of a lane, the largest microbatch of each has as many placeholders
// of its own as any can: 6 of the 12 that two ranks have of the sample between them.
TEST(BatchFeedTest, TheLargestMicrobatchOfARankHasTheMostItCanOwn) {
  BatchFeedOptions options = Options(SetOf<SizedSource>(Shuffled(29), 29), 1, 2);
  options.device = {.kind = DeviceKind::kShapeOnly};
  options.samples.reset();
  for (const auto& [size, most] : {std::pair(2, 12), {8, 6}, {16, 6}, {24, 4}}) {
    for (int64_t rank = 0; rank < size; ++rank) {
      options.token_owner = {
          .samples = {4, 4}, .row_length = kSequence, .rank = rank, .size = size};
      MemoryLedger ledger;
      StreamWithWorkspace stream(options.device);
      BatchFeed feed = BatchFeed::Create(options, ledger).value();
      const FeedInput input = feed.Load(0, 0, 0, *stream).value();
      EXPECT_EQ(input.tokens->modality_positions[0].dim(0), most);
      EXPECT_EQ(input.tokens->text_positions.dim(0), 4 * (kSequence - 6));
      // What both ends of an edge count from says the same.
      const IndexRange own = options.token_owner->own();
      int64_t owned = 0;
      const std::span<const SampleFacts> facts = feed.Facts(0, 0, {4, 4}).value();
      for (int64_t i = 0; i < 4; ++i) {
        for (const IndexRange& run : facts[i].modalities[0].runs) {
          for (int64_t t = i * kSequence + run.first; t < i * kSequence + run.end(); ++t) {
            owned += own.first <= t && t < own.end();
          }
        }
      }
      EXPECT_EQ(owned, most);
    }
  }
}

// Of a GPU only the slots are its own; what is made ahead is pinned memory of the host.
TEST(BatchFeedTest, APredictionCountsTheMemoryOfTheDeviceThatItIsFor) {
  BatchFeedOptions options = Options(SetOf<SizedSource>(Shuffled(29), 29), 0, 2);
  const auto predicted = [&](DeviceKind kind, int num_slots) {
    options.num_slots = num_slots;
    options.device = {.kind = DeviceKind::kShapeOnly, .predicts = kind};
    MemoryLedger ledger;
    const auto feed = BatchFeed::Create(options, ledger);
    EXPECT_TRUE(feed.ok());
    return std::pair(ledger.bytes(MemoryLabel::kData), ledger.bytes(MemoryLabel::kHostStaging));
  };
  const auto [slot, staging] = predicted(DeviceKind::kCuda, 1);
  EXPECT_GT(slot, 0);
  const auto [on_cpu, no_staging] = predicted(DeviceKind::kCpu, 1);
  EXPECT_EQ(predicted(DeviceKind::kCuda, 3), std::pair(3 * slot, staging + 2 * slot));
  EXPECT_EQ(predicted(DeviceKind::kCpu, 3), std::pair(on_cpu + 2 * slot, int64_t{0}));
  EXPECT_EQ(staging, on_cpu) << "as much as the CPU has in its ring";
  EXPECT_EQ(no_staging, 0);
}

TEST(BatchFeedTest, StepsReadWhatWasAllocatedBeforeThem) {
  for (const DType storage : {DType::kF32, DType::kBF16}) {
    BatchFeedOptions options = Options(SetOf<SizedSource>(Shuffled(29), 29), 1, 2);
    options.storage = storage;
    MemoryLedger ledger;
    StreamWithWorkspace stream;
    BatchFeed feed = BatchFeed::Create(options, ledger).value();
    const MemoryLedger before = ledger;
    std::set<const void*> tokens, features, offsets;
    for (int n = 0; n < 200; ++n) {
      // Evaluations start anew in between.
      const int64_t step = n % 60 / 2;
      const FeedInput input = feed.Load(n % 2, step, n % 2, *stream).value();
      tokens.insert(input.tokens->text_tokens.address());
      features.insert(input.modalities[0].features.address());
      offsets.insert(input.tokens->sequences.token_offsets.data());
      EXPECT_EQ(input.modalities[0].features.dtype(), storage);
    }
    // Two slots and what is made ahead of them.
    EXPECT_THAT(tokens, SizeIs(4));
    EXPECT_THAT(features, SizeIs(4));
    EXPECT_THAT(offsets, SizeIs(4));
    EXPECT_EQ(ledger, before);
  }
}

}  // namespace
}  // namespace hetero
