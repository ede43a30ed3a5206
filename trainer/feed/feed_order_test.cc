// Which microbatch a request gets, and when what is wrong with one is told.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/feed_testing.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using namespace feed_testing;  // NOLINT: made for these tests

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

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

TEST(BatchFeedTest, ARequestOutOfOrderStartsAnewFromThere) {
  const SampleSet samples = SetOf<SizedSource>(Shuffled(29), 29);
  const std::vector<Content> expected = ReadSteps(samples, 1, 6);
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed = BatchFeed::Create(Options(samples, 0, 1), ledger).value();
  for (const int first : {7, 2, 3, 0, 0, 9}) {
    for (int n = first; n < first + 3; ++n) {
      Content content;
      Append(feed.Load(n % 2, n / 2, n % 2, *stream).value(), content);
      EXPECT_EQ(content, expected[n]) << n;
    }
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
    if (index == 13) data::AddPlaceholders({4, 3}, facts.modalities[0]);  // 7 in all
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
                       "lane 1 of 2: microbatch 1: sample sized/13 has 5 image tokens in "
                       "its text, its image data give 4 rows"));
  EXPECT_THAT(LoadSample13<DamagedSource>(),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr("lane 1 of 2"), HasSubstr("microbatch 1"),
                             HasSubstr("shard a.tar, sample 13: bad pixels"))));
  EXPECT_THAT(LoadSample13<LargeSource>(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("sample 13 of the data set has image data of 7 tokens, the run is "
                                 "sized for 6 a sample")));
}

// The thread has met the damage long before.
TEST(BatchFeedTest, AnErrorComesWithItsMicrobatchAndStays) {
  const SampleSet samples = SetOf<DamagedSource>(data::SampleOrder::OnePass(29).value(), 29);
  const std::vector<Content> expected =
      ReadSteps(SetOf<SizedSource>(data::SampleOrder::OnePass(29).value(), 29), 1, 2);
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed = BatchFeed::Create(Options(samples, 0, 1), ledger).value();
  for (int pass = 0; pass < 2; ++pass) {
    Content content;
    Append(feed.Load(0, 0, 0, *stream).value(), content);
    EXPECT_EQ(content, expected[0]);
    for (int again = 0; again < 2; ++again) {
      EXPECT_THAT(feed.Load(1, 0, 1, *stream),
                  StatusIs(absl::StatusCode::kDataLoss,
                           "lane 0 of 1: microbatch 1: shard a.tar, sample 13: bad "
                           "pixels"));
    }
    content = {};
    Append(feed.Load(1, 1, 0, *stream).value(), content);
    EXPECT_EQ(content, expected[2]);
  }
}

}  // namespace
}  // namespace hetero
