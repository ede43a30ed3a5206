#include "hetero/tensor/ops/attention/head_batches.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::internal {
namespace {

AttentionShape Shape(int64_t groups, int64_t heads_per_group, int64_t head_size,
                     const std::vector<int32_t>& segments, bool causal) {
  return {.num_groups = groups,
          .heads_per_group = heads_per_group,
          .head_size = head_size,
          .segments = segments,
          .causal = causal};
}

// Draws lengths from 0 to twice `mean`, empty and long ones among them.
std::vector<int32_t> RandomSegments(int64_t count, int64_t mean, std::mt19937_64& generator) {
  std::vector<int32_t> segments = {0};
  std::uniform_int_distribution<int32_t> length(0, static_cast<int32_t>(2 * mean));
  for (int64_t s = 0; s < count; ++s) segments.push_back(segments.back() + length(generator));
  segments.push_back(segments.back() + 1);
  return segments;
}

struct Use {
  bool causal, backward;
};

class HeadBatchesTest : public ::testing::TestWithParam<Use> {};

TEST_P(HeadBatchesTest, TakeEveryQueryOfEveryHeadOnceWithAllItsKeys) {
  std::mt19937_64 generator = FreshGenerator();
  const auto [causal, backward] = GetParam();
  for (const auto& [count, mean] :
       {std::pair<int64_t, int64_t>{1, 20000}, {16, 1024}, {3000, 3}, {40, 300}, {7, 2500}}) {
    const std::vector<int32_t> segments = RandomSegments(count, mean, generator);
    for (const auto& [groups, heads_per_group] : {std::pair{1, 1}, {2, 16}, {16, 1}, {3, 5}}) {
      const int64_t heads = groups * heads_per_group;
      const AttentionShape shape = Shape(groups, heads_per_group, 64, segments, causal);
      const HeadBatches batches(shape, backward);
      std::map<std::pair<int64_t, int32_t>, SegmentPiece> found;  // by head and first query
      for (const HeadBatch& batch : batches.Cut()) {
        ASSERT_GT(batch.num_entries, 0);
        ASSERT_LE(batch.num_entries, batch.capacity);
        ASSERT_LE(batch.capacity, batches.max_capacity());
        ASSERT_LE(batch.pieces.size(), HeadBatch::kMaxPieces);
        ASSERT_LT(batch.lane, batch.num_lanes);
        for (int64_t e = 0; e < batch.num_entries; ++e) {
          const int64_t at = batch.first_head + e;
          const SegmentPiece& piece = batch.pieces.at(at / heads);
          ASSERT_GT(piece.length, 0);
          ASSERT_LE(piece.length, batch.length);
          ASSERT_LE(piece.key_length, batch.key_length);
          ASSERT_LT(piece.part, batches.num_parts());
          ASSERT_TRUE(!causal || piece.length == piece.key_length);
          ASSERT_TRUE(found.emplace(std::pair(at % heads, piece.begin), piece).second);
        }
      }
      for (int64_t head = 0; head < heads; ++head) {
        for (size_t s = 0; s + 1 < segments.size(); ++s) {
          for (int32_t row = segments[s]; row < segments[s + 1];) {
            const auto piece = found.extract({head, row});
            ASSERT_FALSE(piece.empty()) << "head " << head << ", row " << row;
            EXPECT_EQ(piece.mapped().key_begin, segments[s]);
            EXPECT_EQ(piece.mapped().key_length, segments[s + 1] - segments[s]);
            row += piece.mapped().length;
          }
        }
      }
      EXPECT_TRUE(found.empty());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Uses, HeadBatchesTest,
                         ::testing::Values(Use{false, false}, Use{false, true}, Use{true, true}));

TEST(HeadBatchesBytesTest, StayBelowTheLimitTogetherWithTheGradientsToBeSummed) {
  for (const int32_t tokens : {1, 131, 1024, 8192, 16384, 16394}) {
    const std::vector<int32_t> segments = {0, tokens};
    for (const auto& [groups, heads_per_group, size, causal] :
         {std::tuple{2, 16, 128, true}, {8, 4, 128, true}, {16, 1, 80, false}, {1, 1, 16, false}}) {
      const HeadBatches batches(Shape(groups, heads_per_group, size, segments, causal), true);
      EXPECT_LE(batches.library_bytes() + 2 * tokens * batches.partial_columns(),
                HeadBatches::kMaxBytes)
          << tokens << " tokens, " << groups << " groups of " << heads_per_group;
    }
  }
}

// A plan is built for lengths and a capacity, which costs time.
TEST(HeadBatchesPlansTest, ReturnFromStepToStep) {
  std::mt19937_64 generator = FreshGenerator();
  std::set<std::pair<int64_t, int64_t>> plans;
  const auto step = [&] {
    std::vector<int32_t> segments = RandomSegments(12, 600, generator);
    for (int32_t& offset : segments) offset = std::min(offset, 8192);
    segments.push_back(8192);
    for (const HeadBatch& batch : HeadBatches(Shape(2, 16, 128, segments, true), true).Cut()) {
      plans.emplace(batch.length, batch.capacity);
    }
  };
  for (int i = 0; i < 1200; ++i) step();
  // 128, 256 and 512 rows for one, two, four or eight segments, 1024 for one, two or four, and one
  // capacity each of 2048, 4096 and the four lengths beyond.
  EXPECT_LE(plans.size(), 3 * 4 + 3 + 2 + 4);
}

}  // namespace
}  // namespace hetero::internal
