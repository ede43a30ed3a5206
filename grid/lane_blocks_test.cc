#include "hetero/grid/lane_blocks.h"

#include <tuple>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::testing::ElementsAre;

bool Holds(LaneRange range, LaneId lane) {
  return lane.value() >= range.first && lane.value() < range.first + range.count;
}

// Source lanes, destination lanes.
class LaneBlocksTest : public ::testing::TestWithParam<std::tuple<int, int>> {
 protected:
  const int64_t sources_ = std::get<0>(GetParam());
  const int64_t destinations_ = std::get<1>(GetParam());
  const LaneBlocks blocks_{sources_, destinations_};
};

TEST_P(LaneBlocksTest, PartitionTheLanesOfBothEnds) {
  int64_t next_source = 0;
  int64_t next_destination = 0;
  for (int64_t block = 0; block < blocks_.size(); ++block) {
    EXPECT_EQ(blocks_.Sources(block).first, next_source);
    EXPECT_EQ(blocks_.Destinations(block).first, next_destination);
    next_source += blocks_.Sources(block).count;
    next_destination += blocks_.Destinations(block).count;
  }
  EXPECT_EQ(next_source, sources_);
  EXPECT_EQ(next_destination, destinations_);
}

TEST_P(LaneBlocksTest, HoldEveryLaneThatSharesSamplesWithOneOfThem) {
  for (int64_t s = 0; s < sources_; ++s) {
    const LaneId lane(s);
    const int64_t block = blocks_.OfSource(lane);
    EXPECT_TRUE(Holds(blocks_.Sources(block), lane));
    for (const LaneOverlap& overlap : OverlapsOf(lane, sources_, destinations_)) {
      EXPECT_EQ(blocks_.OfDestination(overlap.other), block);
      EXPECT_TRUE(Holds(blocks_.Destinations(block), overlap.other));
    }
  }
}

TEST_P(LaneBlocksTest, OverlapsAreTheSameFromBothEndsAndCoverTheLane) {
  for (int64_t s = 0; s < sources_; ++s) {
    int64_t num_parts = 0;
    for (const LaneOverlap& overlap : OverlapsOf(LaneId(s), sources_, destinations_)) {
      EXPECT_THAT(OverlapsOf(overlap.other, destinations_, sources_),
                  ::testing::Contains(LaneOverlap{LaneId(s), overlap.num_parts}));
      num_parts += overlap.num_parts;
    }
    EXPECT_EQ(num_parts, destinations_);
  }
}

INSTANTIATE_TEST_SUITE_P(Lanes, LaneBlocksTest,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4, 6, 9),
                                            ::testing::Values(1, 2, 3, 4, 6, 9)));

TEST(OverlapsOfTest, OfThreeLanesTheSecondFeedsBothOfTwo) {
  EXPECT_THAT(OverlapsOf(LaneId(0), 3, 2), ElementsAre(LaneOverlap{LaneId(0), 2}));
  EXPECT_THAT(OverlapsOf(LaneId(1), 3, 2),
              ElementsAre(LaneOverlap{LaneId(0), 1}, LaneOverlap{LaneId(1), 1}));
  EXPECT_THAT(OverlapsOf(LaneId(1), 2, 3),
              ElementsAre(LaneOverlap{LaneId(1), 1}, LaneOverlap{LaneId(2), 2}));
}

}  // namespace
}  // namespace hetero
