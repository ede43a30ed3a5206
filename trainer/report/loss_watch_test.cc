#include "hetero/trainer/report/loss_watch.h"

#include <cmath>
#include <limits>
#include <optional>

#include "gtest/gtest.h"

namespace hetero {
namespace {

TEST(LossWatchTest, ASpikeIsAboveTheMeanOfAWholeWindow) {
  LossWatch watch(3, 2);
  EXPECT_FALSE(watch.StandsOut(1));
  EXPECT_FALSE(watch.StandsOut(100));  // the first steps of a run fall far
  EXPECT_FALSE(watch.StandsOut(1));
  EXPECT_EQ(watch.mean(), std::nullopt);
  EXPECT_FALSE(watch.StandsOut(68));
  EXPECT_DOUBLE_EQ(*watch.mean(), 34);
  EXPECT_TRUE(watch.StandsOut(113));  // of 100, 1 and 68: 56 1/3
  EXPECT_NEAR(*watch.mean(), 169.0 / 3, 1e-12);
}

TEST(LossWatchTest, OfARowOfThemTheFirstIsTold) {
  LossWatch watch(2, 1.5);
  const double nan = std::nan("");
  EXPECT_TRUE(watch.StandsOut(nan));
  EXPECT_FALSE(watch.StandsOut(std::numeric_limits<double>::infinity()));
  EXPECT_FALSE(watch.StandsOut(1));
  EXPECT_FALSE(watch.StandsOut(1));
  EXPECT_TRUE(watch.StandsOut(nan));
  EXPECT_FALSE(watch.StandsOut(10));
  EXPECT_FALSE(watch.StandsOut(5.5));  // it stays high: 5.5 is the mean
  EXPECT_TRUE(watch.StandsOut(50));
}

}  // namespace
}  // namespace hetero
