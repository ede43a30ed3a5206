#include "hetero/data/prefetcher.h"

#include <atomic>
#include <memory>
#include <new>
#include <set>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

struct Number {
  int64_t value = -1;
};

absl::Status Fill(int64_t n, Number& out) {
  out.value = n;
  return absl::OkStatus();
}

class PrefetcherTest : public ::testing::TestWithParam<int> {};

TEST_P(PrefetcherTest, DeliversInOrderWithABoundedNumberAhead) {
  std::atomic<int64_t> made = 0;
  const auto prefetcher = Prefetcher<Number>::Create(GetParam(), [&](int64_t n, Number& out) {
    made = n + 1;
    return Fill(n, out);
  });
  for (int64_t n = 0; n < 500; ++n) {
    const auto batch = (*prefetcher)->Next().value();
    ASSERT_EQ(batch->value, n);
    // One more than the depth may be in work.
    EXPECT_LE(made, n + 1 + GetParam() + 1);
  }
}

TEST_P(PrefetcherTest, FailureComesAfterTheBatchesBeforeItAndStays) {
  const auto prefetcher = Prefetcher<Number>::Create(GetParam(), [](int64_t n, Number& out) {
    if (n == 3) return absl::DataLossError("sample x/y");
    return Fill(n, out);
  });
  for (int64_t n = 0; n < 3; ++n) ASSERT_EQ((*prefetcher)->Next().value()->value, n);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT((*prefetcher)->Next(),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sample x/y")));
  }
}

TEST_P(PrefetcherTest, WantOfMemoryIsAFailureLikeOthers) {
  const auto prefetcher = Prefetcher<Number>::Create(
      GetParam(), [](int64_t, Number&) -> absl::Status { throw std::bad_alloc(); });
  EXPECT_THAT((*prefetcher)->Next(), StatusIs(absl::StatusCode::kResourceExhausted));
}

INSTANTIATE_TEST_SUITE_P(Depths, PrefetcherTest, ::testing::Values(1, 2, 4));

TEST(PrefetcherTest, ReturnedBatchesAreReusedAndHeldOnesStay) {
  std::set<const Number*> seen;
  BatchLease<Number> survivor;
  {
    const auto prefetcher = Prefetcher<Number>::Create(2, Fill);
    const auto held = (*prefetcher)->Next().value();
    for (int64_t n = 1; n < 200; ++n) {
      const auto batch = (*prefetcher)->Next().value();
      seen.insert(batch.get());
      ASSERT_NE(batch.get(), held.get());
    }
    EXPECT_EQ(held->value, 0);
    survivor = (*prefetcher)->Next().value();
  }
  EXPECT_LE(seen.size(), 5);
  EXPECT_EQ(survivor->value, 200);
}

TEST(PrefetcherTest, DestructionWhileTheQueueIsFullEndsTheThread) {
  absl::Notification full;
  int64_t filled = 0;
  {
    const auto prefetcher = Prefetcher<Number>::Create(2, [&](int64_t n, Number& out) {
      filled = n + 1;
      if (n == 1) full.Notify();
      return Fill(n, out);
    });
    full.WaitForNotification();
  }
  EXPECT_LE(filled, 3);
}

}  // namespace
}  // namespace hetero::data
