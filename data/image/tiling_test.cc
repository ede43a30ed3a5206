#include "hetero/data/image/tiling.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr ImageSize Size(int width, int height) { return {.height = height, .width = width}; }

struct Golden {
  ImageSize size;
  int64_t budget;
  PatchGrid grid;
};

class FitImageTest : public ::testing::TestWithParam<Golden> {};

TEST_P(FitImageTest, AgreesWithTheReference) {
  EXPECT_EQ(FitImage(GetParam().size, GetParam().budget, TilingOptions()), GetParam().grid);
}

constexpr int64_t kLong = 32352;  // 4 * (8192 - 100 - 4)

INSTANTIATE_TEST_SUITE_P(
    Recipe, FitImageTest,
    ::testing::Values(
        Golden{Size(512, 512), kLong, {32, 32}}, Golden{Size(512, 512), 1024, {32, 32}},
        Golden{Size(500, 375), kLong, {24, 32}}, Golden{Size(528, 528), kLong, {34, 34}},
        Golden{Size(528, 528), 1024, {32, 32}}, Golden{Size(496, 496), kLong, {32, 32}},
        Golden{Size(336, 336), kLong, {22, 22}}, Golden{Size(448, 448), kLong, {28, 28}},
        Golden{Size(224, 224), kLong, {14, 14}}, Golden{Size(544, 400), kLong, {26, 34}},
        Golden{Size(640, 480), kLong, {30, 40}}, Golden{Size(640, 480), 1024, {28, 36}},
        Golden{Size(1920, 1080), kLong, {68, 120}}, Golden{Size(1920, 1080), 4096, {48, 84}},
        Golden{Size(1920, 1080), 1024, {24, 42}}, Golden{Size(4032, 3024), kLong, {156, 206}},
        Golden{Size(4032, 3024), 4096, {56, 72}}, Golden{Size(8000, 6000), 1024, {28, 36}},
        Golden{Size(100, 3000), kLong, {188, 8}}, Golden{Size(100, 3000), 1024, {166, 6}},
        Golden{Size(16, 16), kLong, {2, 2}}, Golden{Size(1, 1), 1024, {2, 2}},
        Golden{Size(15, 17), kLong, {4, 2}}, Golden{Size(16, 64000), 4096, {2862, 2}},
        Golden{Size(5000, 16), 100, {2, 50}}));

std::vector<PatchGrid> Fit(std::vector<ImageSize> sizes, int64_t tokens) {
  return FitImages(sizes, tokens, TilingOptions());
}

TEST(FitImagesTest, ShareTheBudgetOfASample) {
  const PatchGrid wide = {22, 42};
  EXPECT_THAT(Fit(std::vector(4, Size(1920, 1080)), 1000), ElementsAre(wide, wide, wide, wide));
  EXPECT_THAT(Fit({Size(512, 512), Size(1920, 1080), Size(224, 224)}, 1000),
              ElementsAre(PatchGrid{28, 28}, PatchGrid{40, 74}, PatchGrid{12, 12}));
  EXPECT_EQ(Fit(std::vector(40, Size(512, 512)), 100), std::vector(40, PatchGrid{2, 4}));
  EXPECT_EQ(Fit(std::vector(3, Size(640, 480)), 8088), std::vector(3, PatchGrid{30, 40}));
  EXPECT_THAT(Fit({Size(4032, 3024), Size(500, 375)}, 2000),
              ElementsAre(PatchGrid{74, 98}, PatchGrid{22, 30}));
  EXPECT_EQ(Fit(std::vector(300, Size(512, 512)), 200), std::vector(300, PatchGrid{2, 2}));
}

TEST(ThumbnailTest, SmallImagesHaveOne) {
  TilingOptions options = {.thumbnails = true};
  const auto patches = [&](int side) {
    return ThumbnailPatches(FitImage(Size(side, side), kLong, options), options);
  };
  EXPECT_EQ(patches(224), 28 * 28);
  EXPECT_EQ(patches(384), 28 * 28);
  EXPECT_EQ(patches(400), 0);
  options.thumbnails = false;
  EXPECT_EQ(patches(224), 0);
}

// They take of the budget that images share.
TEST(ThumbnailTest, ImagesMakeRoomForThumbnails) {
  TilingOptions options = {.thumbnails = true};
  const std::vector<ImageSize> sizes(3, Size(320, 320));  // 20 x 20 patches
  EXPECT_EQ(FitImages(sizes, 3 * (400 + 784) / 4, options), std::vector(3, PatchGrid{20, 20}));
  const std::vector<PatchGrid> fewer = FitImages(sizes, 3 * (300 + 784) / 4, options);
  for (const PatchGrid& grid : fewer) EXPECT_LT(grid.NumPatches(), 400);
  EXPECT_THAT(Validate({.patch_size = 10, .thumbnails = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no multiple of 20")));
}

TEST(FitImageTest, GridsAreEvenAndKeepToTheBudget) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 20000; ++round) {
    const ImageSize size =
        Size(1 + static_cast<int>(random() % 20000), 1 + static_cast<int>(random() % 20000));
    const int64_t budget = 4 + static_cast<int64_t>(random() % 20000);
    const PatchGrid grid = FitImage(size, budget, TilingOptions());
    ASSERT_GE(grid.rows, 2);
    ASSERT_GE(grid.columns, 2);
    ASSERT_EQ(grid.rows % 2 + grid.columns % 2, 0);
    // A side of one patch is rounded up to two whatever the budget says.
    if (grid.rows > 2 && grid.columns > 2) {
      ASSERT_LE(grid.NumPatches(), budget) << size.width << "x" << size.height << " " << budget;
    }
  }
}

// Whatever the image: memory that is planned for the largest grid holds every other.
TEST(LargestGridTest, HoldsEveryGridOfTheBudget) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 20000; ++round) {
    const TilingOptions options = {.patch_size = 4, .pixel_shuffle = round % 2 == 0};
    const ImageSize size =
        Size(1 + static_cast<int>(random() % 2000), 1 + static_cast<int>(random() % 2000));
    const int64_t budget = 4 + static_cast<int64_t>(random() % 2000);
    const PatchGrid grid = FitImage(size, budget, options);
    const PatchGrid largest = LargestGrid(budget, options);
    ASSERT_LE(largest.NumPatches(), budget);
    if (grid.NumPatches() > budget) continue;  // thinner than a grid
    ASSERT_LE(grid.NumPatches(), largest.NumPatches()) << size.width << "x" << size.height;
    ASSERT_LE(std::max(grid.rows, grid.columns), largest.columns);
  }
  EXPECT_EQ(FitImage(Size(500, 30), 64, {.patch_size = 4}), LargestGrid(64, {.patch_size = 4}));
}

TEST(FitImageTest, WithoutPixelShuffleOddGridsStay) {
  EXPECT_EQ(FitImage(Size(33, 60), 1000, {.patch_size = 4, .pixel_shuffle = false}),
            (PatchGrid{16, 9}));
}

TEST(TilingOptionsTest, ValidateNamesTheField) {
  EXPECT_THAT(Validate(TilingOptions()), IsOk());
  EXPECT_THAT(Validate({.patch_size = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patch_size is 0")));
  EXPECT_THAT(Validate({.min_patches = 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least 4")));
  EXPECT_THAT(Validate({.min_patches = 8, .max_patches = 4}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("min_patches = 8")));
}

}  // namespace
}  // namespace hetero::data
