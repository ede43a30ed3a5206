#include "hetero/data/image/patchify.h"

#include <zlib.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero::data {
namespace {

using ::testing::ElementsAre;

Image Noise(ImageSize size) {
  Image image;
  image.Reshape(size, 3);
  uint32_t x = 1;
  for (uint8_t& pixel : image.pixels) {
    x = (x * 1103515245u + 12345u) & 0x7fffffffu;
    pixel = static_cast<uint8_t>(x >> 16);
  }
  return image;
}

TEST(PatchifierTest, NormalisesWithTheBitsOfTorch) {
  Image image;
  image.Reshape({.height = 1, .width = 3}, 3);
  image.pixels = {0, 0, 0, 128, 128, 128, 255, 255, 255};
  std::vector<float> out(9);
  Patchifier(1, kClipNormalization).Run(image, out);
  std::vector<uint32_t> bits;
  for (const float value : out) bits.push_back(std::bit_cast<uint32_t>(value));
  EXPECT_THAT(bits, ElementsAre(0xbfe568dc, 0xbfe044b8, 0xbfbd77d8, 0x3d9c5620, 0x3e2cf36b,
                                0x3eae0dc4, 0x3ff71541, 0x4004cae5, 0x40095660));
}

TEST(PatchifierTest, PatchesAreRowMajorAndChannelsComeFirstInside) {
  const Image image = Noise({.height = 32, .width = 48});
  const Patchifier patchifier(16, {.mean = {0, 0, 0}, .std = {1, 1, 1}});
  ASSERT_EQ(patchifier.NumPatches(image.size), 6);
  std::vector<float> out(6 * 768);
  patchifier.Run(image, out);
  std::vector<uint8_t> bytes;
  for (const float value : out) bytes.push_back(static_cast<uint8_t>(value * 255 + 0.5f));
  EXPECT_EQ(bytes[0], 198);
  EXPECT_EQ(bytes[1], 107);
  EXPECT_EQ(bytes[256], 126);
  EXPECT_EQ(bytes[768], 218);
  EXPECT_EQ(crc32(0, bytes.data(), static_cast<uInt>(bytes.size())), 0xe1fdddc9u);
}

}  // namespace
}  // namespace hetero::data
