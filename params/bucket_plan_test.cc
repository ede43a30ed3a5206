#include "hetero/params/bucket_plan.h"

#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using testing::ElementsAre;

std::vector<ElementRange> RangesOf(const BucketPlan& plan) {
  std::vector<ElementRange> ranges;
  for (const BucketPlan::Bucket& bucket : plan.buckets()) ranges.push_back(bucket.range);
  return ranges;
}

std::vector<int64_t> BeginsOf(const BucketPlan& plan) {
  return {plan.begins().begin(), plan.begins().end()};
}

TEST(BucketPlanTest, TheLastParameterComesFirstAndABucketEndsWhenItIsFull) {
  const int64_t a_b_c_d[] = {1000, 300, 70, 500};
  const BucketPlan plan(a_b_c_d, /*shares=*/4, /*bucket_elements=*/600);
  EXPECT_THAT(BeginsOf(plan), ElementsAre(1024, 640, 512, 0));
  EXPECT_THAT(RangesOf(plan), ElementsAre(ElementRange{0, 1024}, ElementRange{1024, 1024}));
  EXPECT_EQ(plan.buckets()[0].used, 940);
  EXPECT_EQ(plan.buckets()[0].first, 1u);
  EXPECT_EQ(plan.buckets()[0].num_parameters, 3u);
  EXPECT_EQ(plan.buckets()[1].used, 1000);
  EXPECT_EQ(plan.length(), 2048);
  EXPECT_EQ(plan.own_length(), 512);
  EXPECT_EQ(plan.OwnBegin(1), 256);
  // b lies in [640, 940): share 2 owns [640, 768) of it and share 3 what follows.
  EXPECT_EQ(plan.Own(0, 2), (ElementRange{512, 256}));
  EXPECT_EQ(Intersect(plan.Own(0, 2), {640, 300}), (ElementRange{640, 128}));
  EXPECT_EQ(Intersect(plan.Own(0, 3), {640, 300}), (ElementRange{768, 172}));
  EXPECT_EQ(Intersect(plan.Own(0, 0), {640, 300}).count, 0);
}

TEST(BucketPlanTest, OneBucketHoldsAllThatIsSmaller) {
  const int64_t counts[] = {1000, 300, 70, 500};
  const BucketPlan plan(counts, 4, BucketElements({}, 1870, 4));
  EXPECT_EQ(plan.begins()[0], 960);
  EXPECT_THAT(RangesOf(plan), ElementsAre(ElementRange{0, 2048}));
}

TEST(BucketPlanTest, SharesNeedNoPowerOfTwo) {
  const int64_t w_b[] = {100, 10};
  const BucketPlan plan(w_b, 3, 1'000'000);
  EXPECT_THAT(BeginsOf(plan), ElementsAre(64, 0));
  EXPECT_THAT(RangesOf(plan), ElementsAre(ElementRange{0, 384}));
}

TEST(BucketPlanTest, NoElementsMakeABucketAParameter) {
  const int64_t counts[] = {5, 0, 200};
  const BucketPlan plan(counts, 1, 0);
  EXPECT_THAT(RangesOf(plan),
              ElementsAre(ElementRange{0, 256}, ElementRange{256, 0}, ElementRange{256, 128}));
  EXPECT_TRUE(BucketPlan({}, 4, 0).buckets().empty());
}

TEST(BucketPlanTest, ElementsOfABucketByRule) {
  EXPECT_EQ(BucketElements({}, 1, 1), 40'000'000);
  EXPECT_EQ(BucketElements({}, 1, 384), 384'000'000);
  EXPECT_EQ(BucketElements({.bucket_elements = 0}, 100, 8), 0);
  EXPECT_EQ(BucketElements({.bucket_elements = 7}, 100, 8), 7);
  EXPECT_EQ(BucketElements({.num_buckets = 3}, 100, 8), 33);
  EXPECT_EQ(BucketElements({.num_buckets = 300}, 100, 8), 1);
}

TEST(BucketPlanTest, PaddingForTheBus) {
  const int64_t counts[] = {1};
  const auto length = [&](int64_t shares) { return BucketPlan(counts, shares, 1, true).length(); };
  EXPECT_EQ(length(384), 196'608);
  EXPECT_EQ(length(4), 65'536);
  EXPECT_EQ(length(12), 196'608);
  EXPECT_EQ(BucketPlan(counts, 12, 1).length(), 1536);
}

TEST(BucketPlanTest, SharesCoverEveryParameterOnce) {
  std::mt19937_64 random = FreshGenerator();
  const auto draw = [&](int64_t most) {
    return std::uniform_int_distribution<int64_t>(0, most)(random);
  };
  for (int layout = 0; layout < 1000; ++layout) {
    std::vector<int64_t> counts(1 + draw(20));
    for (int64_t& count : counts) count = draw(3000);
    const int64_t shares = 1 + draw(9);
    const BucketPlan plan(counts, shares, draw(5000), layout % 10 == 0);
    std::vector<int64_t> seen(counts.size());
    int64_t owned = 0;
    for (size_t b = 0; b < plan.buckets().size(); ++b) {
      const BucketPlan::Bucket& bucket = plan.buckets()[b];
      for (int64_t share = 0; share < shares; ++share) {
        const ElementRange own = plan.Own(b, share);
        ASSERT_EQ(own.begin % BucketPlan::kShareAlignment, 0);
        owned += own.count;
        for (size_t i = bucket.first; i < bucket.first + bucket.num_parameters; ++i) {
          seen[i] += Intersect(own, {plan.begins()[i], counts[i]}).count;
        }
      }
      if (b + 1 < plan.buckets().size()) {
        ASSERT_EQ(bucket.range.end(), plan.buckets()[b + 1].range.begin);
      }
    }
    ASSERT_EQ(seen, counts);
    ASSERT_EQ(owned, plan.length());
  }
}

}  // namespace
}  // namespace hetero
