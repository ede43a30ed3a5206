#include "hetero/data/image/resize.h"

#include <zlib.h>

#include <cstdint>
#include <random>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero::data {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

Image Noise(ImageSize size, int channels) {
  Image image;
  image.Reshape(size, channels);
  uint32_t x = 1;
  for (uint8_t& pixel : image.pixels) {
    x = (x * 1103515245u + 12345u) & 0x7fffffffu;
    pixel = static_cast<uint8_t>(x >> 16);
  }
  return image;
}

Image Resize(const Image& in, ImageSize size) {
  ResizeScratch scratch;
  Image out;
  ResizeToRgb(in, size, scratch, out);
  return out;
}

uint32_t Crc(const Image& image) {
  return static_cast<uint32_t>(
      crc32(0, image.pixels.data(), static_cast<uInt>(image.pixels.size())));
}

struct Golden {
  ImageSize in;
  int channels;
  ImageSize out;
  uint32_t in_crc;
  uint32_t out_crc;
};

// Checksums of Pillow 11.3 on the same noise, of 12.3 on that of two channels, mode I;16, and below
// on CMYK.
class PillowTest : public ::testing::TestWithParam<Golden> {};

TEST_P(PillowTest, BicubicBitsAgree) {
  const Image in = Noise(GetParam().in, GetParam().channels);
  if (GetParam().in_crc != 0) {
    ASSERT_EQ(Crc(in), GetParam().in_crc);
  }
  EXPECT_EQ(Crc(Resize(in, GetParam().out)), GetParam().out_crc);
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, PillowTest,
    ::testing::Values(Golden{{37, 53}, 3, {16, 16}, 0x8e596af6, 0x236565f1},
                      Golden{{16, 16}, 3, {64, 48}, 0xf0148aab, 0xa7a2609e},
                      Golden{{33, 33}, 3, {33, 64}, 0xb4573f93, 0x7bce6fb7},
                      Golden{{100, 333}, 3, {96, 320}, 0xd6b0acb1, 0x3251311e},
                      Golden{{480, 640}, 3, {448, 576}, 0x9d832661, 0xf9528d68},
                      Golden{{375, 500}, 3, {384, 512}, 0x75fd1100, 0x0e3b5565},
                      Golden{{60, 40}, 3, {20, 48}, 0xe3c8ffa6, 0x9eb61ab5},
                      Golden{{20, 20}, 4, {16, 16}, 0, 0x42c8e94a},
                      Golden{{20, 20}, 1, {16, 16}, 0, 0xf91acfdc},
                      Golden{{20, 20}, 2, {16, 16}, 0, 0xbf10a717},
                      Golden{{21, 33}, 2, {48, 64}, 0, 0x60bb17cb},
                      Golden{{60, 40}, 2, {20, 40}, 0, 0x3d354a3b}));

// Pillow 13 resizes what shrinks more in height than twice as much as in width vertically first.
TEST(ResizeTest, AxesOneByOneHaveTheBitsOfPillow13) {
  const Image in = Noise({.height = 60, .width = 40}, 3);
  const Image out = Resize(Resize(in, {.height = 20, .width = 40}), {.height = 20, .width = 48});
  EXPECT_EQ(Crc(out), 0xaa84011f);
}

TEST(ResizeTest, InksAreScaledBeforeTheyBecomeRgb) {
  for (const auto& [in, out, crc] :
       {std::tuple(ImageSize{20, 20}, ImageSize{16, 16}, uint32_t{0xe02711c0}),
        std::tuple(ImageSize{21, 33}, ImageSize{48, 64}, uint32_t{0xef497b02}),
        std::tuple(ImageSize{60, 40}, ImageSize{20, 40}, uint32_t{0x14fcd384})}) {
    Image image = Noise(in, 4);
    image.cmyk = true;
    EXPECT_EQ(Crc(Resize(image, out)), crc);
  }
}

TEST(ResizeTest, WeightsOfHalvingAndDoubling) {
  ResizeWeights weights;
  ComputeBicubicWeights(8, 4, weights);
  EXPECT_EQ(weights.start[1], 0);
  EXPECT_THAT(weights.Row(1),
              ElementsAre(-145748, 469632, 1797559, 1797559, 469632, -145748, -48583));
  ComputeBicubicWeights(8, 16, weights);
  EXPECT_THAT(weights.Row(0), ElementsAre(4564390, -370086));
  EXPECT_EQ(weights.start[5], 1);
  EXPECT_THAT(weights.Row(5), ElementsAre(-294912, 3637248, 950272, -98304));
}

TEST(ResizeTest, ConstantImagesStayConstant) {
  std::mt19937_64 random = FreshGenerator();
  for (int round = 0; round < 30; ++round) {
    Image in;
    in.Reshape({.height = 1 + static_cast<int>(random() % 70),
                .width = 1 + static_cast<int>(random() % 70)},
               3);
    in.pixels.assign(in.pixels.size(), 201);
    const Image out = Resize(in, {.height = 1 + static_cast<int>(random() % 70),
                                  .width = 1 + static_cast<int>(random() % 70)});
    EXPECT_THAT(out.pixels, Each(201));
  }
}

TEST(ResizeTest, MirroredInputGivesMirroredOutputWithinOne) {
  const Image in = Noise({.height = 40, .width = 61}, 1);
  Image mirrored = in;
  for (int y = 0; y < 40; ++y) {
    for (int x = 0; x < 61; ++x) mirrored.pixels[y * 61 + x] = in.pixels[y * 61 + 60 - x];
  }
  const Image a = Resize(in, {.height = 23, .width = 90});
  const Image b = Resize(mirrored, {.height = 23, .width = 90});
  for (int y = 0; y < 23; ++y) {
    for (int x = 0; x < 90; ++x) {
      EXPECT_NEAR(a.pixels[(y * 90 + x) * 3], b.pixels[(y * 90 + 89 - x) * 3], 1);
    }
  }
}

}  // namespace
}  // namespace hetero::data
