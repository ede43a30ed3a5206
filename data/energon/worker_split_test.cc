#include "hetero/data/energon/worker_split.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

// Numbers of this file that are no law: megatron-energon 7.4.1.

TEST(BitReversalTest, InterleavesHalves) {
  EXPECT_THAT(BitReversal(1), ElementsAre(0));
  EXPECT_THAT(BitReversal(4), ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(BitReversal(5), ElementsAre(0, 2, 1, 3, 4));
  EXPECT_THAT(BitReversal(6), ElementsAre(0, 3, 1, 4, 2, 5));
  EXPECT_THAT(BitReversal(7), ElementsAre(0, 3, 1, 5, 2, 4, 6));
  EXPECT_THAT(BitReversal(8), ElementsAre(0, 4, 2, 6, 1, 5, 3, 7));
  EXPECT_THAT(BitReversal(9), ElementsAre(0, 4, 2, 6, 1, 5, 3, 7, 8));
  EXPECT_THAT(BitReversal(10), ElementsAre(0, 5, 2, 7, 1, 6, 3, 8, 4, 9));
  EXPECT_THAT(BitReversal(11), ElementsAre(0, 5, 2, 8, 1, 6, 3, 9, 4, 7, 10));
  EXPECT_THAT(BitReversal(12), ElementsAre(0, 6, 3, 9, 1, 7, 4, 10, 2, 8, 5, 11));
  EXPECT_THAT(BitReversal(13), ElementsAre(0, 6, 3, 9, 1, 7, 4, 11, 2, 8, 5, 10, 12));
  EXPECT_THAT(BitReversal(14), ElementsAre(0, 7, 3, 10, 1, 8, 5, 12, 2, 9, 4, 11, 6, 13));
  EXPECT_THAT(BitReversal(15), ElementsAre(0, 7, 3, 11, 1, 9, 5, 13, 2, 8, 4, 12, 6, 10, 14));
  EXPECT_THAT(BitReversal(16), ElementsAre(0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15));
}

TEST(BitReversalTest, IsAPermutation) {
  std::mt19937_64 random = FreshGenerator();
  for (int trial = 0; trial < 50; ++trial) {
    const int64_t n = 1 + static_cast<int64_t>(random() % 4096);
    std::vector<int64_t> sorted = BitReversal(n);
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(sorted[i], i) << n;
  }
}

TEST(WorkerBordersTest, AreThoseOfEnergon) {
  const auto borders = [](int64_t size, int64_t workers, int64_t rotation) {
    return WorkerBorders({.first = 0, .count = size}, workers, rotation);
  };
  EXPECT_THAT(borders(55, 4, 0), ElementsAre(0, 14, 28, 42, 55));
  EXPECT_THAT(borders(55, 4, 3), ElementsAre(0, 14, 27, 41, 55));
  EXPECT_THAT(borders(7, 4, 0), ElementsAre(0, 2, 4, 6, 7));
  EXPECT_THAT(borders(7, 4, 3), ElementsAre(0, 2, 3, 5, 7));
  EXPECT_THAT(borders(117, 4, 0), ElementsAre(0, 30, 59, 88, 117));
  EXPECT_THAT(borders(10, 8, 0), ElementsAre(0, 2, 3, 4, 5, 7, 8, 9, 10));
  EXPECT_THAT(borders(10, 8, 3), ElementsAre(0, 1, 3, 4, 5, 6, 7, 9, 10));
  EXPECT_THAT(borders(7, 8, 0), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 7));
  EXPECT_THAT(borders(7, 8, 5), ElementsAre(0, 1, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(borders(1000, 16, 0), ElementsAre(0, 63, 125, 188, 250, 313, 375, 438, 500, 563, 625,
                                                688, 750, 813, 875, 938, 1000));
  EXPECT_THAT(borders(1000, 16, 5), ElementsAre(0, 62, 125, 187, 250, 312, 375, 438, 500, 562, 625,
                                                688, 750, 812, 875, 938, 1000));
}

TEST(WorkerBordersTest, CoverTheRangeEvenly) {
  std::mt19937_64 random = FreshGenerator();
  for (int trial = 0; trial < 300; ++trial) {
    const IndexRange range = {.first = static_cast<int64_t>(random() % 100),
                              .count = static_cast<int64_t>(random() % 5000)};
    const int64_t workers = 1 + static_cast<int64_t>(random() % 512);
    const std::vector<int64_t> borders =
        WorkerBorders(range, workers, static_cast<int64_t>(random() % 1000));
    ASSERT_EQ(borders.size(), workers + 1);
    EXPECT_EQ(borders.front(), range.first);
    EXPECT_EQ(borders.back(), range.end());
    for (int64_t worker = 0; worker < workers; ++worker) {
      const int64_t size = borders[worker + 1] - borders[worker];
      EXPECT_GE(size, range.count / workers);
      EXPECT_LE(size, range.count / workers + 1);
    }
  }
}

// Samples of each worker over data sets of 55, each rotated by those before it.
std::vector<int64_t> Totals(int64_t num_sets, int64_t workers) {
  std::vector<int64_t> totals(workers);
  for (int64_t set = 0; set < num_sets; ++set) {
    const std::vector<int64_t> borders =
        WorkerBorders({.first = 0, .count = 55}, workers, 55 * set % workers);
    for (int64_t worker = 0; worker < workers; ++worker) {
      totals[worker] += borders[worker + 1] - borders[worker];
    }
  }
  return totals;
}

TEST(WorkerBordersTest, RotationEvensOutBlends) {
  EXPECT_THAT(Totals(4, 12), ElementsAre(19, 18, 18, 19, 18, 18, 19, 18, 18, 19, 18, 18));
  std::vector<int64_t> expected(60, 3);
  const std::vector<int64_t> order = BitReversal(60);
  for (int i = 0; i < 40; ++i) expected[order[i]] = 4;
  EXPECT_THAT(Totals(4, 60), ElementsAreArray(expected));
  const std::vector<int64_t> pattern = {4, 4, 4, 4, 3, 4, 3, 4, 4, 4, 3, 4, 3, 4, 3};
  for (int64_t i = 0; i < 60; ++i) EXPECT_EQ(Totals(4, 60)[i], pattern[i % 15]) << i;
}

using Slices = std::vector<std::vector<int64_t>>;

Slices SlicesOf(const std::vector<int64_t>& shards, int64_t workers,
                std::optional<int64_t> max_samples, std::optional<IndexRange> subset = {}) {
  std::vector<int64_t> shard_borders = {0};
  for (const int64_t size : shards) shard_borders.push_back(shard_borders.back() + size);
  const std::vector<int64_t> borders =
      WorkerBorders(subset.value_or(IndexRange{0, shard_borders.back()}), workers, 0);
  Slices slices;
  for (int64_t worker = 0; worker < workers; ++worker) {
    const IndexRange range = {.first = borders[worker],
                              .count = borders[worker + 1] - borders[worker]};
    slices.push_back(SliceBorders(shard_borders, range, max_samples));
  }
  return slices;
}

TEST(SliceBordersTest, AreThoseOfEnergon) {
  const std::vector<int64_t> first = {10, 10, 10, 10, 10, 5};
  EXPECT_EQ(SlicesOf(first, 4, {}),
            (Slices{{0, 10, 14}, {14, 20, 28}, {28, 30, 40, 42}, {42, 50, 55}}));
  EXPECT_EQ(SlicesOf(first, 4, 4),
            (Slices{{0, 5, 10, 14}, {14, 20, 24, 28}, {28, 30, 35, 40, 42}, {42, 46, 50, 55}}));
  EXPECT_EQ(SlicesOf({100}, 1, 30), (Slices{{0, 33, 66, 100}}));
  EXPECT_EQ(SlicesOf({100}, 1, 65), (Slices{{0, 50, 100}}));
  EXPECT_EQ(SlicesOf({100}, 1, 67), (Slices{{0, 100}}));
  EXPECT_EQ(SlicesOf({145}, 1, 100), (Slices{{0, 145}}));
  EXPECT_EQ(SlicesOf({151}, 1, 100), (Slices{{0, 75, 151}}));
  EXPECT_EQ(SlicesOf({250}, 1, 100), (Slices{{0, 125, 250}}));
  EXPECT_EQ(SlicesOf({251}, 1, 100), (Slices{{0, 83, 167, 251}}));
  EXPECT_EQ(SlicesOf({0, 5, 0, 5}, 2, {}), (Slices{{0, 5}, {5, 10}}));
  EXPECT_EQ(SlicesOf({3, 4}, 8, {}),
            (Slices{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}, {7}}));
  EXPECT_EQ(SlicesOf({1000, 1000, 1000}, 4, 100),
            (Slices{{0, 93, 187, 281, 375, 468, 562, 656, 750},
                    {750, 875, 1000, 1100, 1200, 1300, 1400, 1500},
                    {1500, 1600, 1700, 1800, 1900, 2000, 2125, 2250},
                    {2250, 2343, 2437, 2531, 2625, 2718, 2812, 2906, 3000}}));
  // 20 % to 60 % of 55.
  EXPECT_EQ(SlicesOf(first, 1, {}, IndexRange{11, 22}), (Slices{{11, 20, 30, 33}}));
}

TEST(SliceBordersTest, CutAtShardsAndNeverMuchLongerThanAsked) {
  std::mt19937_64 random = FreshGenerator();
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<int64_t> shards = {0};
    for (int i = 0; i < 8; ++i) {
      shards.push_back(shards.back() + static_cast<int64_t>(random() % 40));
    }
    const int64_t first = static_cast<int64_t>(random() % (shards.back() + 1));
    const IndexRange range = {
        .first = first, .count = static_cast<int64_t>(random() % (shards.back() - first + 1))};
    const int64_t most = 1 + static_cast<int64_t>(random() % 12);
    const std::vector<int64_t> borders = SliceBorders(shards, range, most);
    EXPECT_EQ(borders.front(), range.first);
    EXPECT_EQ(borders.back(), range.end());
    for (size_t i = 0; i + 1 < borders.size(); ++i) {
      EXPECT_LT(borders[i], borders[i + 1]);
      EXPECT_LE(borders[i + 1] - borders[i], 1.5 * static_cast<double>(most));
    }
    for (const int64_t shard : shards) {
      if (shard < range.first || shard > range.end()) continue;
      EXPECT_TRUE(std::binary_search(borders.begin(), borders.end(), shard));
    }
  }
}

}  // namespace
}  // namespace hetero::data
