#include "hetero/trainer/feed/media_shares.h"

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/balance/share_out.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/grid/rank.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/feed_testing.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using feed_testing::kGlobalBatch;
using feed_testing::kMicrobatch;
using feed_testing::Options;
using feed_testing::SetOf;
using feed_testing::Shuffled;
using feed_testing::SizedSource;
using ::testing::HasSubstr;

constexpr int64_t kLanes = 4;
constexpr int64_t kSamples = 29;

BatchFeedOptions Balanced(int64_t lane) {
  BatchFeedOptions options =
      Options(SetOf<SizedSource>(Shuffled(kSamples), kSamples), lane, kLanes);
  options.reads_tokens = false;
  options.edges = {};
  options.modalities[0].form = ImageForm{.patch_size = 2, .patches_per_token = 4};
  options.balanced = BalancedMedia{
      .num_lanes = kLanes, .cost = [](const SampleFacts& one) {
        return static_cast<double>(one.modalities[0].num_tokens * one.modalities[0].sizes.size());
      }};
  return options;
}

MediaShares SharesOf(BatchFeedOptions options) {
  auto source = options.samples->open().value();
  return MediaShares(std::make_shared<const BatchFeedOptions>(std::move(options)),
                     std::move(source), /*num_kept=*/2);
}

TEST(MediaSharesTest, EveryRankFindsTheSameWheneverItAsks) {
  MediaShares some = SharesOf(Balanced(0));
  MediaShares others = SharesOf(Balanced(3));
  for (const int64_t step : {0, 5, 1, 0, 5}) {
    const auto a = some.Of(step).value(), b = others.Of(5 - step).value();
    const auto c = others.Of(step).value();
    EXPECT_EQ(a->work, c->work);
    EXPECT_NE(a->microbatches[0].media, b->microbatches[0].media);
    for (size_t m = 0; m < a->microbatches.size(); ++m) {
      EXPECT_EQ(a->microbatches[m].media, c->microbatches[m].media);
      EXPECT_EQ(a->microbatches[m].samples, c->microbatches[m].samples);
    }
  }
}

TEST(MediaSharesTest, LanesShareAllImagesAndTheWorkEvenly) {
  MediaShares shares = SharesOf(Balanced(1));
  for (int64_t step = 0; step < 6; ++step) {
    const auto of_step = shares.Of(step).value();
    ASSERT_EQ(std::ssize(of_step->microbatches), kGlobalBatch / kMicrobatch);
    std::vector<double> work(kLanes);
    for (const MicrobatchShares& microbatch : of_step->microbatches) {
      int64_t tokens = 0, images = 0;
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const ModalityFacts facts = microbatch.OfLane(lane, 0).modalities[0];
        EXPECT_EQ(facts.num_tokens, 2 * std::ssize(facts.sizes));
        work[lane] += static_cast<double>(facts.num_tokens);
        tokens += facts.num_tokens;
        images += std::ssize(facts.sizes);
      }
      for (const SampleFacts& sample : microbatch.samples) {
        tokens -= sample.modalities[0].num_tokens;
        images -= std::ssize(sample.modalities[0].sizes);
      }
      EXPECT_EQ(tokens, 0);
      EXPECT_EQ(images, 0);
    }
    EXPECT_EQ(of_step->work, work);
    // Images are alike: no lane has two more than another.
    const auto [least, most] = std::ranges::minmax(work);
    EXPECT_LE(most - least, 2);
    EXPECT_LE(data::MaxOverMean(work), data::MaxOverMean(of_step->work_by_lane));
  }
}

// What reaches the device on each lane are its images, in the order of their samples.
TEST(MediaSharesTest, ALaneReadsItsShare) {
  const data::SampleOrder order = Shuffled(kSamples);
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    MemoryLedger ledger;
    StreamWithWorkspace stream;
    BatchFeed feed = BatchFeed::Create(Balanced(lane), ledger).value();
    for (int number = 0; number < 6; ++number) {
      const int64_t step = number / 2;
      const int microbatch = number % 2;
      const MicrobatchShares& shares = **feed.Shares(step, microbatch);
      std::vector<float> patches;
      std::vector<ImageSize> sizes;
      const int64_t first = step * kGlobalBatch + microbatch * kMicrobatch;
      for (int64_t i = 0; i < kMicrobatch; ++i) {
        for (const LaneRows& image : shares.media[i]) {
          if (image.lane != LaneId(lane)) continue;
          patches.insert(patches.end(), 8 * 12, static_cast<float>(*order.DatasetIndex(first + i)));
          sizes.push_back({.height = 4, .width = 8});
        }
      }
      const FeedInput input = feed.Load(number % 2, step, microbatch, *stream).value();
      std::vector<float> loaded;
      feed_testing::Append(input.modalities[0].features, loaded);
      EXPECT_EQ(loaded, patches);
      EXPECT_EQ(std::vector(input.modalities[0].sizes.begin(), input.modalities[0].sizes.end()),
                sizes);
      EXPECT_TRUE(input.has_media);
      EXPECT_EQ(feed.Facts(step, microbatch, {0, kMicrobatch})->size(), shares.samples.size());
    }
  }
}

TEST(MediaSharesTest, RefusesSamplesWhosePlaceholdersAreNotThoseOfTheirImages) {
  BatchFeedOptions options = Balanced(0);
  options.modalities[0].form = ImageForm{.patch_size = 2, .patches_per_token = 2};
  EXPECT_THAT(SharesOf(std::move(options)).Of(1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sample 16 of the run has ")));
}

}  // namespace
}  // namespace hetero
