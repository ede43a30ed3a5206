#include "hetero/data/balance/rows_by_cost.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

TEST(AttentionCostsTest, AreSquaresOfSegments) {
  RowTable rows;
  rows.Add(std::vector<RowSample>{{.index = 0, .length = 3}, {.index = 1, .length = 5}});
  rows.Add(std::vector<RowSample>{{.index = 2, .length = 6}, {.index = 3, .length = 4}});
  rows.Add(std::vector<RowSample>{{.index = 4, .length = 2}});
  rows.Add(std::vector<RowSample>{{.index = 5, .length = 9}, {.index = 6, .length = std::nullopt}});
  EXPECT_THAT(AttentionCosts(rows, 10), ElementsAre(9 + 25 + 4, 36 + 16, 100, 81 + 1));
}

TEST(RowsByCostTest, SortsTheRowsOfEachStepAndTurnsEveryOtherMicrobatch) {
  const std::vector<int64_t> costs = {5, 1, 9, 5, 7, 2};
  RowsByCost rows(SampleOrder::OnePass(6).value(), costs,
                  {.global_batch_size = 6, .samples_per_microbatch = 2});
  std::vector<int64_t> numbers;
  for (int64_t place = 0; place < 6; ++place) numbers.push_back(rows.IndexAt(place));
  EXPECT_THAT(numbers, ElementsAre(2, 4, 3, 0, 5, 1));
}

// Of a microbatch that has a row for each lane, the step waits for the costliest.
int64_t SumOfLongest(const std::vector<int64_t>& costs, int64_t lanes) {
  int64_t sum = 0;
  for (auto begin = costs.begin(); begin != costs.end(); begin += lanes) {
    sum += *std::max_element(begin, begin + lanes);
  }
  return sum;
}

double LongestLane(const std::vector<int64_t>& costs, int64_t lanes) {
  std::vector<double> work(static_cast<size_t>(lanes));
  for (size_t i = 0; i < costs.size(); ++i) work[i % work.size()] += static_cast<double>(costs[i]);
  return *std::max_element(work.begin(), work.end());
}

TEST(RowsByCostTest, EveryStepHasItsRowsAndWaitsForLess) {
  std::mt19937_64 random = FreshGenerator();
  constexpr int64_t kLanes = 8;
  const BatchLayout layout = {
      .global_batch_size = 64,
      .samples_per_microbatch = kLanes,
      .schedule =
          BatchSchedule::Make(std::vector<BatchSchedule::Entry>{{0, 32}, {96, 64}}).value()};
  std::vector<int64_t> costs(500);
  for (int64_t& cost : costs) cost = 1 + static_cast<int64_t>(random() % (1 << 20));
  const SampleOrder order = SampleOrder::Shuffled(std::ssize(costs), random()).value();
  RowsByCost rows(order, costs, layout);
  RowsByCost again(order, costs, layout);
  double longest = 0, longest_sorted = 0;
  // Over the end of an epoch, and backwards: no step depends on what was asked for before.
  for (int64_t step = 19; step >= 0; --step) {
    std::vector<int64_t> plain, sorted, plain_costs, sorted_costs;
    for (int64_t i = 0; i < layout.SizeOf(step); ++i) {
      const int64_t place = layout.FirstSample(step) + i;
      plain.push_back(*order.DatasetIndex(place));
      sorted.push_back(rows.IndexAt(place));
      plain_costs.push_back(costs[static_cast<size_t>(plain.back())]);
      sorted_costs.push_back(costs[static_cast<size_t>(sorted.back())]);
    }
    EXPECT_THAT(sorted, UnorderedElementsAreArray(plain));
    for (int64_t i = layout.SizeOf(step) - 1; i >= 0; --i) {
      ASSERT_EQ(again.IndexAt(layout.FirstSample(step) + i), sorted[static_cast<size_t>(i)]);
    }
    EXPECT_LE(SumOfLongest(sorted_costs, kLanes), SumOfLongest(plain_costs, kLanes));
    longest += LongestLane(plain_costs, kLanes);
    longest_sorted += LongestLane(sorted_costs, kLanes);
  }
  EXPECT_LT(longest_sorted, longest);
}

}  // namespace
}  // namespace hetero::data
