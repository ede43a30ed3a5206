#include "hetero/tensor/ops/attention/forward_tiles.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::internal {
namespace {

using ::testing::Each;

TEST(ForwardTiles, EveryQueryIsInOneTileWithTheKeysItSees) {
  std::mt19937_64 random = FreshGenerator();
  constexpr int kRows = 192, kKeys = 96;
  for (const bool causal : {false, true}) {
    std::vector<int32_t> segments = {0};
    for (int s = 0; s < 12; ++s) {
      segments.push_back(segments.back() + std::uniform_int_distribution(0, 700)(random));
    }
    const std::vector<ForwardTile> tiles =
        ForwardTiles({.segments = segments, .causal = causal}, kRows);
    std::vector<int> covered(segments.back());
    for (const ForwardTile& tile : tiles) {
      EXPECT_TRUE(std::ranges::find(segments, tile.segment_begin) != segments.end());
      EXPECT_TRUE(std::ranges::find(segments, tile.segment_end) != segments.end());
      const int32_t end = std::min(tile.query_begin + kRows, tile.segment_end);
      for (int32_t q = tile.query_begin; q < end; ++q) ++covered[q];
      EXPECT_EQ(tile.KeyEnd(causal, kRows), causal ? end : tile.segment_end);
      const int32_t keys = tile.KeyEnd(causal, kRows) - tile.segment_begin;
      const int32_t steps = tile.NumSteps(causal, kRows, kKeys);
      EXPECT_GE(steps * kKeys, keys);
      EXPECT_LT((steps - 1) * kKeys, keys);
    }
    EXPECT_THAT(covered, Each(1));
    EXPECT_TRUE(std::ranges::is_sorted(tiles, std::ranges::greater(), [&](const ForwardTile& t) {
      return t.KeyEnd(causal, kRows) - t.segment_begin;
    }));
  }
}

}  // namespace
}  // namespace hetero::internal
