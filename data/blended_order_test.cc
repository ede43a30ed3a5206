#include "hetero/data/blended_order.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// Of parts of 7, 20 and 5 samples, the second without a share.
TEST(BlendedOrderTest, EveryRoundHasItsSharesAndEveryEpochOfAPartAllItsSamples) {
  constexpr BlendedPart kParts[] = {{7, 3}, {20, 0}, {5, 9}};
  constexpr int64_t kRound = 12;
  BlendedOrder order(kParts, FreshSeed());
  std::vector<int64_t> first, last;
  bool is_mixed = false;
  for (int64_t round = 0; round < 70; ++round) {
    int64_t of_first = 0;
    for (int64_t i = 0; i < kRound; ++i) {
      const int64_t index = order.IndexAt(round * kRound + i);
      ASSERT_TRUE(index < 7 || (index >= 27 && index < 32)) << index;
      if (index < 7) {
        first.push_back(index);
        ++of_first;
        is_mixed = is_mixed || i != of_first - 1;
      } else {
        last.push_back(index - 27);
      }
    }
    ASSERT_EQ(of_first, 3);
  }
  EXPECT_TRUE(is_mixed);
  // Rounds shuffle the places within them, so an epoch of a part is exact where rounds end with it.
  std::vector<int64_t> seen(7, 0);
  for (const int64_t index : first) ++seen[index];
  EXPECT_THAT(seen, Each(70 * 3 / 7));
  seen.assign(5, 0);
  for (const int64_t index : last) ++seen[index];
  EXPECT_THAT(seen, Each(70 * 9 / 5));
}

TEST(BlendedOrderTest, TheSamePlaceIsTheSameSampleInAnyOrderOfAsking) {
  constexpr BlendedPart kParts[] = {{100, 90}, {30, 10}};
  const uint64_t seed = FreshSeed();
  BlendedOrder forth(kParts, seed), back(kParts, seed), other(kParts, seed + 1);
  std::vector<int64_t> expected, actual, others;
  for (int64_t i = 0; i < 500; ++i) {
    expected.push_back(forth.IndexAt(i));
    others.push_back(other.IndexAt(i));
  }
  for (int64_t i = 499; i >= 0; --i) actual.push_back(back.IndexAt(i));
  std::ranges::reverse(actual);
  EXPECT_EQ(actual, expected);
  EXPECT_NE(others, expected);
}

TEST(RoundOfWeightsTest, IsNearestToTheWeights) {
  EXPECT_THAT(RoundOfWeights(std::vector{0.9, 0.1}), ElementsAre(943718, 104858));
  EXPECT_THAT(RoundOfWeights(std::vector{3.0, 0.0, 1.0}), ElementsAre(786432, 0, 262144));
  EXPECT_THAT(RoundOfWeights(std::vector{1.0, 1e-12}), ElementsAre(kWeightedRound - 1, 1));
  const std::vector<int64_t> thirds = RoundOfWeights(std::vector{1.0, 1.0, 1.0});
  EXPECT_EQ(std::accumulate(thirds.begin(), thirds.end(), int64_t{0}), kWeightedRound);
}

}  // namespace
}  // namespace hetero::data
