#include "hetero/trainer/feed/token_owner.h"

#include <algorithm>
#include <cstdint>

#include "gtest/gtest.h"
#include "hetero/base/index_range.h"
#include "hetero/data/sample_order.h"

namespace hetero {
namespace {

int64_t Overlap(const IndexRange& a, const IndexRange& b) {
  return std::max<int64_t>(0, std::min(a.end(), b.end()) - std::max(a.first, b.first));
}

// Of samples 3, 4 and 5 of the microbatch, of 7 tokens each.
TEST(TokenOwnerTest, SamplesAreCutWhereTheLaneIs) {
  const TokenOwner second = {.samples = {3, 3}, .row_length = 7, .rank = 1, .size = 4};
  EXPECT_EQ(second.own(), (IndexRange{6, 6}));
  EXPECT_EQ(second.OwnOf(3), (IndexRange{6, 1}));
  EXPECT_EQ(second.OwnOf(4), (IndexRange{0, 5}));
  EXPECT_EQ(second.OwnOf(5).count, 0);
  EXPECT_EQ(second.OwnOf(2).count, 0);
  EXPECT_EQ(second.OwnOf(6).count, 0);
}

// Every token of the lane is one rank's, and wherever consecutive tokens of a sample lie, no rank
// owns more of them than where it owns the most.
TEST(TokenOwnerTest, NoPlaceGivesMoreThanTheOneThatGivesTheMost) {
  constexpr int64_t kLength = 7;
  for (int64_t num_samples = 1; num_samples <= 3; ++num_samples) {
    for (int64_t size = 1; size <= 6; ++size) {
      for (int64_t sample = 2; sample < 2 + num_samples; ++sample) {
        int64_t owned_by_all = 0;
        for (int64_t rank = 0; rank < size; ++rank) {
          const TokenOwner owner = {
              .samples = {2, num_samples}, .row_length = kLength, .rank = rank, .size = size};
          const IndexRange own = owner.OwnOf(sample);
          owned_by_all += own.count;
          for (int64_t count = 1; count <= kLength; ++count) {
            const IndexRange run = owner.MostOwned(sample, count);
            EXPECT_EQ(run.count, count);
            EXPECT_GE(run.first, 0);
            EXPECT_LE(run.end(), kLength);
            EXPECT_EQ(Overlap(run, own), owner.MaxOwned(sample, count));
            for (int64_t first = 0; first + count <= kLength; ++first) {
              EXPECT_LE(Overlap({first, count}, own), owner.MaxOwned(sample, count));
            }
          }
        }
        EXPECT_EQ(owned_by_all, kLength);
      }
    }
  }
}

}  // namespace
}  // namespace hetero
