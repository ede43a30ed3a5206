#include "hetero/data/image/tiles.h"

#include <cmath>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/view.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ImageSize Size(int width, int height) { return {.height = height, .width = width}; }

TEST(ChooseTileGridTest, AgreesWithTheReference) {
  struct Golden {
    ImageSize size;
    TileGrid at_most_1, at_most_4, at_most_6, at_most_12;  // columns, rows
  };
  const Golden kGoldens[] = {{Size(512, 512), {1, 1}, {1, 1}, {1, 1}, {1, 1}},
                             {Size(1024, 1024), {1, 1}, {2, 2}, {2, 2}, {2, 2}},
                             {Size(1920, 1080), {1, 1}, {2, 1}, {2, 1}, {4, 2}},
                             {Size(4032, 3024), {1, 1}, {2, 2}, {3, 2}, {4, 3}},
                             {Size(100, 3000), {1, 1}, {1, 4}, {1, 6}, {1, 12}},
                             {Size(1500, 500), {1, 1}, {3, 1}, {3, 1}, {3, 1}}};
  for (const Golden& golden : kGoldens) {
    EXPECT_EQ(ChooseTileGrid(golden.size, 1, 512), golden.at_most_1);
    EXPECT_EQ(ChooseTileGrid(golden.size, 4, 512), golden.at_most_4);
    EXPECT_EQ(ChooseTileGrid(golden.size, 6, 512), golden.at_most_6);
    EXPECT_EQ(ChooseTileGrid(golden.size, 12, 512), golden.at_most_12);
  }
}

using Candidates = std::vector<std::pair<int, int>>;  // columns and rows

// In the order in which the reference, whose candidates come from a hash set, tries them.
const std::vector<std::pair<int, Candidates>> kReferenceOrders = {
    {4, {{1, 1}, {1, 2}, {2, 1}, {3, 1}, {1, 3}, {4, 1}, {1, 4}, {2, 2}}},
    {6,
     {{1, 1},
      {1, 2},
      {2, 1},
      {3, 1},
      {1, 3},
      {4, 1},
      {1, 4},
      {2, 2},
      {1, 5},
      {5, 1},
      {6, 1},
      {2, 3},
      {1, 6},
      {3, 2}}},
    {12, {{1, 1},  {1, 2},  {2, 1},  {3, 1}, {1, 3}, {2, 2},  {4, 1}, {1, 4},  {5, 1},
          {1, 5},  {1, 6},  {6, 1},  {3, 2}, {2, 3}, {7, 1},  {1, 7}, {4, 2},  {2, 4},
          {1, 8},  {8, 1},  {1, 9},  {3, 3}, {9, 1}, {2, 5},  {5, 2}, {10, 1}, {1, 10},
          {11, 1}, {1, 11}, {12, 1}, {3, 4}, {4, 3}, {1, 12}, {6, 2}, {2, 6}}}};

TileGrid ReferenceChoice(ImageSize image, const Candidates& candidates, int tile) {
  const double ratio = static_cast<double>(image.width) / image.height;
  double least = std::numeric_limits<double>::infinity();
  TileGrid best;
  for (const auto& [columns, rows] : candidates) {
    const double distance = std::abs(ratio - static_cast<double>(columns) / rows);
    const double half = 0.5 * tile * tile * columns * rows;
    if (distance < least || (distance == least && image.Area() > half)) {
      best = {.columns = columns, .rows = rows};
      least = distance;
    }
  }
  return best;
}

// Small sides have many ratios that are as far from one grid as from another.
TEST(ChooseTileGridTest, TheOrderOfEquallyManyTilesIsOfNoAccount) {
  std::mt19937_64 random = FreshGenerator();
  for (const auto& [max_tiles, candidates] : kReferenceOrders) {
    for (int height = 1; height <= 60; ++height) {
      for (int width = 1; width <= 60; ++width) {
        const ImageSize image = Size(width, height);
        ASSERT_EQ(ChooseTileGrid(image, max_tiles, 8), ReferenceChoice(image, candidates, 8))
            << width << " x " << height << ", at most " << max_tiles;
      }
    }
    for (int i = 0; i < 5000; ++i) {
      const ImageSize image = Size(1 + random() % 9000, 1 + random() % 9000);
      ASSERT_EQ(ChooseTileGrid(image, max_tiles, 512), ReferenceChoice(image, candidates, 512))
          << image.width << " x " << image.height << ", at most " << max_tiles;
    }
  }
}

TEST(FitTilesTest, ImagesOfASampleGoDownTogether) {
  const TileOptions plain = {.size = 512, .max_tiles = 12};
  const auto tiles = [](std::vector<ImageSize> images, int64_t budget, const TileOptions& options) {
    std::vector<int64_t> counts;
    for (const TileGrid& grid : FitTiles(images, budget, options)) {
      counts.push_back(NumTiles(grid, options));
    }
    return counts;
  };
  const ImageSize tall = Size(100, 3000);
  EXPECT_THAT(tiles({tall}, 12, plain), ElementsAre(12));
  EXPECT_THAT(tiles({tall}, 11, plain), ElementsAre(8));
  EXPECT_THAT(tiles({tall}, 7, plain), ElementsAre(6));
  EXPECT_THAT(tiles({tall}, 5, plain), ElementsAre(4));
  EXPECT_THAT(tiles({tall}, 3, plain), ElementsAre(2));
  EXPECT_THAT(tiles({tall}, 1, plain), ElementsAre(1));
  EXPECT_THAT(tiles({tall}, 0, plain), ElementsAre(1));
  // A square has one tile whatever the limit.
  EXPECT_THAT(tiles({tall, Size(512, 512), tall}, 13, plain), ElementsAre(6, 1, 6));
  EXPECT_THAT(tiles({tall, tall, tall}, 2, plain), ElementsAre(1, 1, 1));

  TileOptions with_thumbnail = plain;
  with_thumbnail.thumbnail = true;
  EXPECT_THAT(tiles({tall}, 13, with_thumbnail), ElementsAre(13));
  EXPECT_THAT(tiles({tall}, 12, with_thumbnail), ElementsAre(9));
  EXPECT_THAT(tiles({tall}, 2, with_thumbnail), ElementsAre(1));
  // From a limit that is none of the steps to the next below.
  EXPECT_THAT(tiles({tall}, 4, {.size = 512, .max_tiles = 5}), ElementsAre(4));
  EXPECT_THAT(tiles({tall}, 19, {.size = 512, .max_tiles = 20}), ElementsAre(12));
}

TEST(FitTilesTest, NoImageHasMoreThanTheMost) {
  std::mt19937_64 random = FreshGenerator();
  for (int i = 0; i < 2000; ++i) {
    const TileOptions options = {.size = 64,
                                 .max_tiles = static_cast<int>(1 + random() % 14),
                                 .thumbnail = random() % 2 == 0};
    const int64_t budget = static_cast<int64_t>(random() % 16);
    const ImageSize image = Size(1 + random() % 2000, 1 + random() % 2000);
    const TileGrid grid = FitTiles(std::vector{image}, budget, options).front();
    EXPECT_LE(NumTiles(grid, options), MostTiles(budget, options));
  }
  EXPECT_EQ(MostTiles(100, {.size = 64, .max_tiles = 12, .thumbnail = true}), 13);
  EXPECT_EQ(MostTiles(13, {.size = 64, .max_tiles = 12, .thumbnail = true}), 13);
  EXPECT_EQ(MostTiles(7, {.size = 64, .max_tiles = 12, .thumbnail = true}), 7);
  EXPECT_EQ(MostTiles(2, {.size = 64, .max_tiles = 12, .thumbnail = true}), 1);
  EXPECT_EQ(MostTiles(2, {.size = 64, .max_tiles = 12}), 2);
  EXPECT_EQ(MostTiles(0, {.size = 64, .max_tiles = 12}), 1);
}

TEST(TileViewsTest, GoRowByRowWithTheWholeImageBehind) {
  TileOptions options = {.size = 16, .max_tiles = 6, .thumbnail = true};
  const ImageSize scaled = {.height = 32, .width = 48};
  const ImageSize tile = {.height = 16, .width = 16};
  const auto at = [&](int top, int left) {
    return ImageView{.scaled = scaled, .top = top, .left = left, .size = tile};
  };
  EXPECT_THAT(TileViews({.columns = 3, .rows = 2}, options),
              ElementsAre(at(0, 0), at(0, 16), at(0, 32), at(16, 0), at(16, 16), at(16, 32),
                          WholeImage(tile)));
  EXPECT_THAT(TileViews({.columns = 1, .rows = 1}, options), ElementsAre(WholeImage(tile)));
  options.thumbnail = false;
  EXPECT_EQ(TileViews({.columns = 3, .rows = 2}, options).size(), 6);
}

TEST(TileOptionsTest, ASideIsWholeTokens) {
  EXPECT_THAT(Validate(TileOptions{.size = 512, .max_tiles = 12}, 32), IsOk());
  EXPECT_THAT(Validate(TileOptions{.size = 500, .max_tiles = 12}, 32),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("size is 500 pixels; it is a multiple of 32")));
  EXPECT_THAT(Validate(TileOptions{.size = 0, .max_tiles = 12}, 32),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      Validate(TileOptions{.size = 512, .max_tiles = 0}, 32),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_tiles is 0; it is at least 1")));
}

}  // namespace
}  // namespace hetero::data
