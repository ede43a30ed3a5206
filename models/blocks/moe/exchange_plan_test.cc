#include "hetero/models/blocks/moe/exchange_plan.h"

#include <cstdint>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;

TEST(ExchangePlanTest, OneRoundTakesEverything) {
  // Two members with two experts each, and a bound of six rows.
  const std::vector<int32_t> table = {1, 2, 0, 3, 6, 0, 1, 2, 0, 6};
  const ExchangePlan plan = ExchangePlan::Make(table, /*size=*/2, /*rank=*/1,
                                               /*experts_of_rank=*/2, /*copies=*/1);
  EXPECT_EQ(plan.num_rounds(), 1);
  const ExchangeRound round = plan.Round(0);
  EXPECT_THAT(round.own, ElementsAre(IndexRange{0, 1}, IndexRange{1, 2}));
  EXPECT_THAT(round.arrived, ElementsAre(IndexRange{0, 3}, IndexRange{3, 2}));
  EXPECT_EQ(round.num_arrived, 5);
}

TEST(ExchangePlanTest, RanksThatShareExpertsGetTheSameRows) {
  const std::vector<int32_t> table = {1, 2, 9, 4, 0, 9, 0, 0, 9, 5, 1, 9};
  const ExchangePlan plan = ExchangePlan::Make(table, /*size=*/4, /*rank=*/0,
                                               /*experts_of_rank=*/1, /*copies=*/2);
  EXPECT_THAT(plan.Round(0).own,
              ElementsAre(IndexRange{0, 1}, IndexRange{1, 1}, IndexRange{2, 2}, IndexRange{4, 2}));
  EXPECT_EQ(plan.num_rounds(), 2);  // ten rows for the first two, nine at a time
}

TEST(ExchangePlanTest, WhatEvenRowsAreFitsTheBound) {
  EXPECT_THAT(ExchangePlan::Even(2, 0, 7, 100).Round(0).own,
              ElementsAre(IndexRange{0, 3}, IndexRange{3, 3}));
  const ExchangePlan tight = ExchangePlan::Even(2, 0, 8, 3);
  EXPECT_EQ(tight.num_rounds(), 1);
  EXPECT_EQ(tight.Round(0).num_arrived, 2);
}

// Over all rounds every row goes once, what one member sends another takes, and nobody takes more
// than it has room for.
TEST(ExchangePlanTest, RoundsPartitionTheRows) {
  std::mt19937_64 random = FreshGenerator();
  for (const int64_t size : {2, 3, 4}) {
    for (const int64_t bound : {1, 4, 7, 1000}) {
      std::vector<int64_t> rows(size * size), bounds(size);
      for (int64_t& count : rows) count = random() % 3 == 0 ? 0 : random() % 12;
      for (int64_t& limit : bounds) limit = bound + random() % 2;
      std::vector<ExchangePlan> plans;
      for (int64_t g = 0; g < size; ++g) plans.emplace_back(g, rows, bounds);
      std::vector<std::vector<int>> sent(size);
      for (int64_t s = 0; s < size; ++s) {
        int64_t own = 0;
        for (int64_t d = 0; d < size; ++d) own += rows[s * size + d];
        sent[s].resize(own);
        EXPECT_EQ(plans[s].num_rounds(), plans[0].num_rounds());
      }
      std::vector<int64_t> arrived(size);
      for (int64_t i = 0; i < plans[0].num_rounds(); ++i) {
        std::vector<ExchangeRound> rounds;
        for (const ExchangePlan& plan : plans) rounds.push_back(plan.Round(i));
        for (int64_t s = 0; s < size; ++s) {
          EXPECT_LE(rounds[s].num_arrived, bounds[s]);
          if (rounds[s].num_arrived > 0) {
            EXPECT_EQ(rounds[s].first_arrived, arrived[s]);
          }
          arrived[s] += rounds[s].num_arrived;
          for (int64_t d = 0; d < size; ++d) {
            const IndexRange& range = rounds[s].own[d];
            EXPECT_EQ(range.count, rounds[d].arrived[s].count);
            for (int64_t row = 0; row < range.count; ++row) ++sent[s][range.first + row];
          }
        }
      }
      for (const std::vector<int>& times : sent) EXPECT_THAT(times, ::testing::Each(1));
    }
  }
}

}  // namespace
}  // namespace hetero
