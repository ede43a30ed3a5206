#include "hetero/data/balance/share_out.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

constexpr LaneRoom kEndless = {1 << 20, 1 << 20, 1 << 20};

LaneItem Costs(double cost, int64_t microbatch = 0) {
  return {.cost = cost, .num_features = 1, .num_tokens = 1, .microbatch = microbatch};
}

LaneItem Takes(int64_t tokens, int64_t lane) {
  return {.cost = static_cast<double>(tokens),
          .num_features = 4 * tokens,
          .num_tokens = tokens,
          .lane = lane};
}

// As many of each microbatch for each lane.
std::vector<LaneItem> RandomItems(std::mt19937_64& random, int64_t per_lane, int64_t num_lanes,
                                  int64_t num_microbatches) {
  std::vector<LaneItem> items;
  for (int64_t m = 0; m < num_microbatches; ++m) {
    for (int64_t i = 0; i < per_lane * num_lanes; ++i) {
      const int64_t tokens = 1 + static_cast<int64_t>(random() % 50);
      items.push_back({.cost = static_cast<double>(tokens * (20 + tokens)),
                       .num_features = 4 * tokens,
                       .num_tokens = tokens,
                       .microbatch = m,
                       .lane = i / per_lane});
    }
  }
  return items;
}

std::vector<double> WorkOf(const std::vector<LaneItem>& items, const std::vector<int64_t>& lanes,
                           int64_t num_lanes) {
  std::vector<double> work(static_cast<size_t>(num_lanes));
  for (size_t i = 0; i < items.size(); ++i) work[static_cast<size_t>(lanes[i])] += items[i].cost;
  return work;
}

TEST(ShareOutTest, TheCostliestGoFirstAndTiesToTheEarlierAndTheLower) {
  // 5 to lane 0, 4 to lane 1, the first 3 to lane 1, the second to lane 0.
  const std::vector<LaneItem> items = {Costs(3), Costs(5), Costs(3), Costs(4)};
  const LaneShares shares = ShareOut(items, 2, 1, kEndless);
  EXPECT_THAT(shares.lanes, ElementsAre(1, 0, 0, 1));
  EXPECT_THAT(shares.work, ElementsAre(8, 7));
  EXPECT_THAT(ShareOut({}, 2, 3, kEndless).lanes, ElementsAre());
}

TEST(ShareOutTest, AMicrobatchMakesUpForAnother) {
  std::vector<LaneItem> items = {Costs(8), Costs(2), Costs(6, 1)};
  const LaneShares shares = ShareOut(items, 2, 2, kEndless);
  EXPECT_THAT(shares.lanes, ElementsAre(0, 1, 1));
  EXPECT_THAT(shares.work, ElementsAre(8, 8));
  // The last one goes to the busier lane, which has nothing of its microbatch yet.
  items = {Costs(8), Costs(2), Costs(5, 1), Costs(1, 1)};
  EXPECT_THAT(ShareOut(items, 2, 2, kEndless).lanes, ElementsAre(0, 1, 1, 0));
}

TEST(ShareOutTest, WhatALaneHasNoRoomForGoesToAnother) {
  const auto costs = [](double cost, int64_t tokens, int64_t lane) {
    return LaneItem{.cost = cost, .num_features = 4 * tokens, .num_tokens = tokens, .lane = lane};
  };
  const std::vector<LaneItem> items = {costs(9, 1, 0), costs(4, 5, 1), costs(2, 2, 0),
                                       costs(1, 1, 1)};
  EXPECT_THAT(ShareOut(items, 2, 1, kEndless).lanes, ElementsAre(0, 1, 1, 1));
  EXPECT_THAT(ShareOut(items, 2, 1, {24, 99, 9}).lanes, ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(ShareOut(items, 2, 1, {99, 6, 9}).lanes, ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(ShareOut(items, 2, 1, {99, 99, 2}).lanes, ElementsAre(0, 1, 1, 0));
}

// 3 + 3 and 2 + 2 + 2 fill two lanes of 6; costliest first they do not. The other microbatch goes
// by what that one comes to.
TEST(ShareOutTest, AMicrobatchThatFindsNoRoomKeepsItsLanes) {
  std::vector<LaneItem> items = {Takes(3, 1), Takes(3, 1), Takes(2, 0), Takes(2, 0), Takes(2, 0)};
  items.push_back(Costs(5, 1));
  items.push_back(Costs(6, 1));
  const LaneShares shares = ShareOut(items, 2, 2, {99, 6, 9});
  EXPECT_THAT(shares.lanes, ElementsAre(1, 1, 0, 0, 0, 1, 0));
  EXPECT_THAT(shares.work, ElementsAre(12, 11));
}

TEST(ShareOutTest, EveryLaneKeepsItsRoomAndTheWorkAddsUp) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 200; ++round) {
    const int64_t num_lanes = 1 + static_cast<int64_t>(random() % 6);
    const int64_t num_microbatches = 1 + static_cast<int64_t>(random() % 3);
    const int64_t per_lane = 1 + static_cast<int64_t>(random() % 8);
    const std::vector<LaneItem> items = RandomItems(random, per_lane, num_lanes, num_microbatches);
    // The lanes of samples have room, some with none to spare.
    std::vector<int64_t> tokens(static_cast<size_t>(num_lanes * num_microbatches));
    for (const LaneItem& item : items) {
      tokens[static_cast<size_t>(item.microbatch * num_lanes + item.lane)] += item.num_tokens;
    }
    LaneRoom room = {.num_items = per_lane + static_cast<int64_t>(random() % 2)};
    room.num_tokens = *std::ranges::max_element(tokens) + static_cast<int64_t>(random() % 9);
    room.num_features = 4 * room.num_tokens;

    const LaneShares shares = ShareOut(items, num_lanes, num_microbatches, room);
    EXPECT_THAT(shares.work, ElementsAreArray(WorkOf(items, shares.lanes, num_lanes)));
    std::vector<LaneRoom> left(tokens.size(), room);
    for (size_t i = 0; i < items.size(); ++i) {
      LaneRoom& lane =
          left.at(static_cast<size_t>(items[i].microbatch * num_lanes + shares.lanes[i]));
      EXPECT_GE(lane.num_items -= 1, 0);
      EXPECT_GE(lane.num_tokens -= items[i].num_tokens, 0);
      EXPECT_GE(lane.num_features -= items[i].num_features, 0);
    }
  }
}

// The work of the busiest lane at best, by trying everything.
double BestPossible(const std::vector<LaneItem>& items, int64_t num_lanes) {
  std::vector<int64_t> lanes(items.size());
  double best = std::numeric_limits<double>::infinity();
  for (bool more = true; more;) {
    const std::vector<double> work = WorkOf(items, lanes, num_lanes);
    best = std::min(best, *std::ranges::max_element(work));
    more = false;
    for (int64_t& lane : lanes) {
      lane = (lane + 1) % num_lanes;
      more = lane != 0;
      if (more) break;
    }
  }
  return best;
}

// Of one microbatch no more than 4/3 - 1 / (3 lanes) of the best there is (Graham 1969).
TEST(ShareOutTest, IsWithinTheBoundOfTheMethod) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 60; ++round) {
    const int64_t num_lanes = 2 + static_cast<int64_t>(random() % 2);
    const int64_t per_lane = 1 + static_cast<int64_t>(random() % (num_lanes == 2 ? 5 : 3));
    const std::vector<LaneItem> items = RandomItems(random, per_lane, num_lanes, 1);
    const LaneShares shares = ShareOut(items, num_lanes, 1, kEndless);
    const double bound = 4.0 / 3 - 1.0 / (3 * static_cast<double>(num_lanes));
    EXPECT_LE(*std::ranges::max_element(shares.work),
              BestPossible(items, num_lanes) * bound * (1 + 1e-12));
  }
}

// Of several: whom the last item of the busiest lane went to was not ahead of the others by more
// than the quarter of a microbatch's work, so that no lane is ahead by more than that and an item.
TEST(ShareOutTest, NoLaneIsFarAheadOfAnother) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 60; ++round) {
    const int64_t num_lanes = 2 + static_cast<int64_t>(random() % 12);
    const int64_t num_microbatches = 2 + static_cast<int64_t>(random() % 4);
    const std::vector<LaneItem> items =
        RandomItems(random, 1 + static_cast<int64_t>(random() % 6), num_lanes, num_microbatches);
    const LaneShares shares = ShareOut(items, num_lanes, num_microbatches, kEndless);
    double costliest = 0;
    std::vector<double> in_microbatch(static_cast<size_t>(num_lanes * num_microbatches));
    for (size_t i = 0; i < items.size(); ++i) {
      costliest = std::max(costliest, items[i].cost);
      in_microbatch[static_cast<size_t>(items[i].microbatch * num_lanes + shares.lanes[i])] +=
          items[i].cost;
    }
    const auto [least, most] = std::ranges::minmax(shares.work);
    EXPECT_LE(most - least, costliest + 0.25 * *std::ranges::max_element(in_microbatch));
  }
}

TEST(MaxOverMeanTest, IsOneWhereAllWorkAlike) {
  EXPECT_EQ(MaxOverMean(std::vector<double>{2, 2, 2}), 1);
  EXPECT_EQ(MaxOverMean(std::vector<double>{0, 0}), 1);
  EXPECT_EQ(MaxOverMean(std::vector<double>{0, 4}), 2);
}

}  // namespace
}  // namespace hetero::data
