#include "hetero/data/prefetcher.h"

#include <atomic>
#include <memory>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Number {
  int64_t value = -1;
};

absl::Status Fill(int64_t n, Number& out) {
  out.value = n;
  return absl::OkStatus();
}

class PrefetcherTest : public ::testing::TestWithParam<int> {
 protected:
  std::vector<Number> Batches() const { return std::vector<Number>(GetParam()); }
};

TEST_P(PrefetcherTest, DeliversInOrderWithABoundedNumberAhead) {
  std::atomic<int64_t> made = 0;
  const auto prefetcher = Prefetcher<Number>::Create(Batches(), [&](int64_t n, Number& out) {
    made = n + 1;
    return Fill(n, out);
  });
  for (int64_t n = 0; n < 500; ++n) {
    const auto batch = (*prefetcher)->Take(n).value();
    ASSERT_EQ(batch->value, n);
    EXPECT_LE(made, n + GetParam());
  }
}

TEST_P(PrefetcherTest, FailureComesAfterTheBatchesBeforeItAndStays) {
  const auto prefetcher = Prefetcher<Number>::Create(Batches(), [](int64_t n, Number& out) {
    if (n == 3) return absl::DataLossError("sample x/y");
    return Fill(n, out);
  });
  for (int64_t n = 0; n < 3; ++n) ASSERT_EQ((*prefetcher)->Take(n).value()->value, n);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT((*prefetcher)->Take(3),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sample x/y")));
  }
  EXPECT_EQ((*prefetcher)->Take(4).value()->value, 4);
}

TEST_P(PrefetcherTest, WantOfMemoryIsAFailureLikeOthers) {
  const auto prefetcher = Prefetcher<Number>::Create(
      Batches(), [](int64_t, Number&) -> absl::Status { throw std::bad_alloc(); });
  EXPECT_THAT((*prefetcher)->Take(0), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_P(PrefetcherTest, AnyOtherNumberStartsAnewFromThere) {
  const auto prefetcher = Prefetcher<Number>::Create(Batches(), Fill);
  for (const int64_t first : {7, 3, 4, 900, 0, 1}) {
    for (int64_t n = first; n < first + 3; ++n) {
      ASSERT_EQ((*prefetcher)->Take(n).value()->value, n);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Batches, PrefetcherTest, ::testing::Values(1, 2, 4));

TEST(PrefetcherTest, ReturnedBatchesAreReusedAndHeldOnesStay) {
  std::set<const Number*> seen;
  BatchLease<Number> survivor;
  {
    const auto prefetcher = Prefetcher<Number>::Create(std::vector<Number>(4), Fill);
    const auto held = (*prefetcher)->Take(0).value();
    for (int64_t n = 1; n < 200; ++n) {
      const auto batch = (*prefetcher)->Take(n).value();
      seen.insert(batch.get());
      ASSERT_NE(batch.get(), held.get());
    }
    survivor = (*prefetcher)->Take(500).value();
    EXPECT_EQ(held->value, 0);
  }
  EXPECT_LE(seen.size(), 3);
  EXPECT_EQ(survivor->value, 500);
}

// What is asked for anew while a batch is in work does not get that batch, nor its failure.
TEST(PrefetcherTest, ABatchInWorkIsDroppedByARestart) {
  absl::Notification in_work, go_on;
  const auto prefetcher =
      Prefetcher<Number>::Create(std::vector<Number>(2), [&](int64_t n, Number& out) {
        if (n == 1 && !in_work.HasBeenNotified()) {
          in_work.Notify();
          go_on.WaitForNotification();
          return absl::DataLossError("of no interest");
        }
        return Fill(n, out);
      });
  ASSERT_EQ((*prefetcher)->Take(0).value()->value, 0);
  in_work.WaitForNotification();
  // Taken on another thread, which has asked once the batch in work may go on or soon after.
  std::vector<int64_t> values;
  std::thread consumer([&] {
    for (const int64_t n : {40, 41}) values.push_back((*prefetcher)->Take(n).value()->value);
  });
  go_on.Notify();
  consumer.join();
  EXPECT_THAT(values, ElementsAre(40, 41));
}

TEST(PrefetcherTest, DestructionWhileAllBatchesAreReadyEndsTheThread) {
  absl::Notification full;
  std::vector<int64_t> filled;
  {
    const auto prefetcher =
        Prefetcher<Number>::Create(std::vector<Number>(2), [&](int64_t n, Number& out) {
          filled.push_back(n);
          if (n == 6) full.Notify();
          return Fill(n, out);
        });
    ASSERT_EQ((*prefetcher)->Take(5).value()->value, 5);
    full.WaitForNotification();
  }
  EXPECT_THAT(filled, ::testing::AnyOf(ElementsAre(5, 6), ElementsAre(5, 6, 7)));
}

TEST(PrefetcherTest, NothingIsMadeBeforeItIsAskedFor) {
  bool called = false;
  {
    const auto prefetcher =
        Prefetcher<Number>::Create(std::vector<Number>(2), [&](int64_t n, Number& out) {
          called = true;
          return Fill(n, out);
        });
  }
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace hetero::data
