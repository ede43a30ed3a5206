// What each rank reads of the samples of a step, and what it leaves to others.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
#include "hetero/data/quarantine.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/feed_testing.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSize = 16;

struct Reads {
  std::atomic<int> texts = 0;
  std::atomic<int> images = 0;
};

// Counts what is read of it. Of the samples in `bad` the image cannot be read.
class CountingSource : public feed_testing::SizedSource {
 public:
  CountingSource(Reads& reads, const data::Quarantine& bad)
      : SizedSource(kSize), reads_(reads), bad_(bad) {}

  absl::Status ReadLanguage(int64_t index, data::LanguageSample& out) override {
    ++reads_.texts;
    return SizedSource::ReadLanguage(index, out);
  }
  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    ++reads_.images;
    if (bad_.Has(index)) return absl::DataLossError("the image is damaged");
    return SizedSource::ReadMedia(index, modality, out);
  }

 private:
  Reads& reads_;
  const data::Quarantine& bad_;
};

class FeedReadsTest : public ::testing::Test {
 protected:
  BatchFeedOptions Options(bool is_encoder, bool has_quarantine = false) {
    std::shared_ptr<const SplitQuarantine> quarantine;
    if (has_quarantine) quarantine = quarantine_;
    auto open = [this, quarantine]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
      auto source = std::make_unique<CountingSource>(reads_, bad_);
      if (quarantine == nullptr) return source;
      return std::make_unique<data::QuarantinedSource>(std::move(source), quarantine->samples);
    };
    BatchFeedOptions options =
        feed_testing::Options({.order = data::SampleOrder::OnePass(kSize).value(),
                               .open = std::move(open),
                               .quarantine = quarantine},
                              /*lane=*/0, /*num_lanes=*/2);
    options.reads_tokens = !is_encoder;
    options.reads_features = is_encoder;
    if (!is_encoder) options.reads = {};
    if (is_encoder) options.edges = {};
    return options;
  }

  Reads reads_;
  data::Quarantine bad_;
  std::shared_ptr<SplitQuarantine> quarantine_ = std::make_shared<SplitQuarantine>();
  MemoryLedger ledger_;
  StreamWithWorkspace stream_;
};

TEST_F(FeedReadsTest, ALanguageRankDecodesNoPixels) {
  BatchFeed feed = BatchFeed::Create(Options(/*is_encoder=*/false), ledger_).value();
  for (int m = 0; m < 2; ++m) {
    ASSERT_THAT(feed.Load(m, 0, m, *stream_).status(), IsOk());
    ASSERT_THAT(feed.Facts(0, m, {0, feed_testing::kMicrobatch}).status(), IsOk());
  }
  EXPECT_EQ(reads_.images, 0);
  EXPECT_GE(reads_.texts, kSize / 2);
}

TEST_F(FeedReadsTest, AnEncoderRankMakesNoTextAndDecodesItsOwnImagesOnce) {
  {
    BatchFeed feed = BatchFeed::Create(Options(/*is_encoder=*/true), ledger_).value();
    for (int m = 0; m < 2; ++m) {
      ASSERT_THAT(feed.Load(m, 0, m, *stream_).status(), IsOk());
      ASSERT_THAT(feed.Facts(0, m, {0, feed_testing::kMicrobatch}).status(), IsOk());
    }
  }
  EXPECT_EQ(reads_.texts, 0);
  // Of one of two lanes; behind the end of the pass there is nothing to read.
  EXPECT_EQ(reads_.images, kSize / 2);
}

TEST_F(FeedReadsTest, ABadSampleIsFoundByTheRankThatReadsItAndBlankOnceItIsInQuarantine) {
  // Lane 0 has samples 0 to 3 and 8 to 11.
  for (const int64_t index : {2, 9, 11, 13}) bad_.Add(index);
  BatchFeed language =
      BatchFeed::Create(Options(/*is_encoder=*/false, /*has_quarantine=*/true), ledger_).value();
  EXPECT_THAT(language.BadSamples(0), IsOkAndHolds(IsEmpty()));
  // Made ahead with what nobody knows to be bad.
  ASSERT_THAT(language.Load(0, 0, 0, *stream_).status(), IsOk());

  BatchFeed encoder =
      BatchFeed::Create(Options(/*is_encoder=*/true, /*has_quarantine=*/true), ledger_).value();
  EXPECT_THAT(encoder.BadSamples(0), IsOkAndHolds(ElementsAre(2, 9, 11)));
  EXPECT_THAT(encoder.Load(0, 0, 0, *stream_).status(),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the image is damaged")));

  for (const int64_t index : {2, 9, 11}) quarantine_->samples->Add(index);
  encoder.ReadAnew();
  language.ReadAnew();
  EXPECT_THAT(encoder.BadSamples(0), IsOkAndHolds(IsEmpty()));
  for (int m = 0; m < 2; ++m) {
    const absl::StatusOr<FeedInput> images = encoder.Load(m, 0, m, *stream_);
    const absl::StatusOr<FeedInput> text = language.Load(m, 0, m, *stream_);
    ASSERT_THAT(images.status(), IsOk());
    ASSERT_THAT(text.status(), IsOk());
    const std::span<const SampleFacts> facts = encoder.Facts(0, m, {0, 4}).value();
    size_t num_images = 0;
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t index = 8 * m + i;
      const bool is_blank = quarantine_->samples->Has(index);
      EXPECT_EQ(facts[i].modalities[0].sizes.size(), is_blank ? 0 : 1 + index % 3);
      EXPECT_EQ(feed_testing::Tokens(*text->tokens)[i * feed_testing::kSequence] ==
                    feed_testing::kImageId,
                !is_blank);
      num_images += facts[i].modalities[0].sizes.size();
    }
    EXPECT_EQ(images->modalities[0].sizes.size(), num_images);
  }
}

}  // namespace
}  // namespace hetero
