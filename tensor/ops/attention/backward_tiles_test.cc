#include "hetero/tensor/ops/attention/backward_tiles.h"

#include <cstdint>
#include <map>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/rounding.h"

namespace hetero::internal {
namespace {

using ::testing::UnorderedElementsAreArray;

// Draws lengths from 0 to twice `mean`.
std::vector<int32_t> RandomSegments(int64_t count, int64_t mean, std::mt19937_64& generator) {
  std::vector<int32_t> segments = {0};
  std::uniform_int_distribution<int32_t> length(0, static_cast<int32_t>(2 * mean));
  for (int64_t s = 0; s < count; ++s) segments.push_back(segments.back() + length(generator));
  segments.push_back(segments.back() + 1);
  return segments;
}

class BackwardTilesTest : public ::testing::TestWithParam<std::tuple<bool, int>> {
 protected:
  template <typename Function>
  static void ForShapes(Function&& function) {
    std::mt19937_64 generator = FreshGenerator();
    for (const auto& [count, mean] :
         {std::pair<int64_t, int64_t>{1, 20000}, {16, 1024}, {3000, 3}, {40, 300}, {7, 2500}}) {
      const std::vector<int32_t> segments = RandomSegments(count, mean, generator);
      for (const auto& [groups, heads_per_group] : {std::pair{1, 1}, {8, 4}, {16, 1}, {300, 2}}) {
        function(AttentionShape{.num_groups = groups,
                                .heads_per_group = heads_per_group,
                                .head_size = 128,
                                .segments = segments,
                                .causal = std::get<0>(GetParam())});
      }
    }
  }
};

TEST_P(BackwardTilesTest, HaveEveryKeyOnce) {
  ForShapes([](const AttentionShape& shape) {
    std::vector<std::tuple<int32_t, int32_t, int32_t>> expected, found;
    for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
      const int32_t begin = shape.segments[s], end = shape.segments[s + 1];
      for (int32_t key = begin; key < end; key += kBackwardKeys) {
        expected.emplace_back(begin, end, key);
      }
    }
    std::map<int32_t, int32_t> begin_of_ordinal;
    for (const BackwardTile& tile : BackwardTiles(shape, std::get<1>(GetParam()))) {
      found.emplace_back(tile.segment_begin, tile.segment_end, tile.key_begin);
      begin_of_ordinal[tile.segment] = tile.segment_begin;
    }
    EXPECT_THAT(found, UnorderedElementsAreArray(expected));
    // Ordinals count up with the segments.
    int32_t ordinal = 0, last = -1;
    for (const auto& [of_segment, begin] : begin_of_ordinal) {
      EXPECT_EQ(of_segment, ordinal++);
      EXPECT_GT(begin, std::exchange(last, begin));
    }
  });
}

// Who waits for its turn waits for tiles that started earlier, each of which comes to the block.
TEST_P(BackwardTilesTest, TakeTurnsInTheOrderOfTheList) {
  const auto [causal, rows] = GetParam();
  ForShapes([causal = causal, rows = rows](const AttentionShape& shape) {
    std::map<std::pair<int32_t, int32_t>, int32_t> turns;  // by segment and block
    for (const BackwardTile& tile : BackwardTiles(shape, rows)) {
      const int32_t end = tile.EndBlock(rows);
      ASSERT_EQ(end, CeilDiv(tile.segment_end, rows));
      for (int32_t block = tile.FirstBlock(causal, rows); block < end; ++block) {
        ASSERT_EQ(tile.TurnIn((block + 1) * rows), (turns[{tile.segment, block}]++))
            << "key " << tile.key_begin << " of " << tile.segment_begin << " to "
            << tile.segment_end << ", block " << block;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(MasksAndRows, BackwardTilesTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(64, 128)));

}  // namespace
}  // namespace hetero::internal
