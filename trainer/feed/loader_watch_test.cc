// Storage that does not answer: the wait for it ends and says for which sample.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/data/batch.h"
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

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kSize = 16;
constexpr int64_t kStuck = 11;

enum class Reading { kFacts, kText, kPixels };

// Waits in one kind of reading of sample kStuck until it is let go, and a moment in any other.
class HangingSource : public feed_testing::SizedSource {
 public:
  HangingSource(Reading hangs, absl::Duration moment, absl::Notification& let_go)
      : SizedSource(kSize), hangs_(hangs), moment_(moment), let_go_(let_go) {}

  absl::Status ReadLanguage(int64_t index, data::LanguageSample& out) override {
    Wait(Reading::kText, index);
    return SizedSource::ReadLanguage(index, out);
  }
  absl::Status ReadMedia(int64_t index, int modality, data::MediaBatch& out) override {
    Wait(Reading::kPixels, index);
    return SizedSource::ReadMedia(index, modality, out);
  }
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override {
    Wait(Reading::kFacts, index);
    return SizedSource::ReadFacts(index, facts);
  }

 private:
  void Wait(Reading reading, int64_t index) {
    if (reading == hangs_ && index == kStuck) {
      let_go_.WaitForNotification();
    } else {
      absl::SleepFor(moment_);
    }
  }

  const Reading hangs_;
  const absl::Duration moment_;
  absl::Notification& let_go_;
};

BatchFeedOptions OptionsOf(Reading hangs, absl::Duration moment, absl::Notification& let_go) {
  BatchFeedOptions options = feed_testing::Options(
      {.order = data::SampleOrder::OnePass(kSize).value(),
       .open = [hangs, moment, &let_go]() -> absl::StatusOr<std::unique_ptr<data::SampleSource>> {
         return std::make_unique<HangingSource>(hangs, moment, let_go);
       },
       .where = [](int64_t index) { return absl::StrCat("sample ", index, " of shard a.tar"); }},
      /*lane=*/0, /*num_lanes=*/1);
  options.loader_timeout = absl::Milliseconds(200);
  return options;
}

class LoaderWatchTest : public ::testing::TestWithParam<Reading> {};

TEST_P(LoaderWatchTest, TheSampleThatALoaderHangsOnIsNamed) {
  absl::Notification let_go;
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed =
      BatchFeed::Create(OptionsOf(GetParam(), absl::ZeroDuration(), let_go), ledger).value();
  // The second microbatch has it.
  EXPECT_THAT(feed.Facts(0, 0, {0, feed_testing::kMicrobatch}).status(), IsOk());
  EXPECT_THAT(feed.Load(0, 0, 0, *stream).status(), IsOk());
  const absl::Status failure = GetParam() == Reading::kFacts
                                   ? feed.Facts(0, 1, {0, feed_testing::kMicrobatch}).status()
                                   : feed.Load(1, 0, 1, *stream).status();
  EXPECT_THAT(failure, StatusIs(absl::StatusCode::kDeadlineExceeded,
                                AllOf(HasSubstr("hangs on sample 11 of shard a.tar, which it has "
                                                "read for"),
                                      HasSubstr("data.loader_timeout_seconds is 0.2"))));
  let_go.Notify();
}

INSTANTIATE_TEST_SUITE_P(Readings, LoaderWatchTest,
                         ::testing::Values(Reading::kFacts, Reading::kText, Reading::kPixels));

// A microbatch takes far longer than the deadline, no sample does.
TEST(LoaderWatchTest, SlowStorageIsWaitedFor) {
  absl::Notification let_go;
  let_go.Notify();
  MemoryLedger ledger;
  StreamWithWorkspace stream;
  BatchFeed feed =
      BatchFeed::Create(OptionsOf(Reading::kFacts, absl::Milliseconds(40), let_go), ledger).value();
  EXPECT_THAT(feed.Load(0, 0, 0, *stream).status(), IsOk());
  EXPECT_THAT(feed.Facts(0, 1, {0, feed_testing::kMicrobatch}).status(), IsOk());
}

}  // namespace
}  // namespace hetero
