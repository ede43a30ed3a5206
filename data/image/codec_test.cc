#include "hetero/data/image/codec.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdint>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/data/image/image_fixtures.h"
#include "hetero/data/image/resize.h"

namespace hetero::data {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

uint32_t Crc(const std::vector<uint8_t>& bytes) {
  return static_cast<uint32_t>(crc32(0, bytes.data(), static_cast<uInt>(bytes.size())));
}

const std::vector<Fixture>& Fixtures() {
  static const auto* fixtures = new std::vector<Fixture>{
      kPngRgb,       kPngGrey,      kPngAlpha,          kPngGreyAlpha,    kPngPalette,
      kPngBits,      kJpeg420,      kJpegGrey,          kJpegProgressive, kJpegCmyk,
      kPngGrey16,    kPngDimGrey16, kPngRgb16,          kPngRgba16,       kPngGreyAlpha16,
      kPngGrey4,     kPngGrey2,     kPngClearPalette,   kJpegTurned,      kWebpLossy,
      kWebpLossless, kWebpAlpha,    kWebpLosslessAlpha,
  };
  return *fixtures;
}

class FixtureTest : public ::testing::TestWithParam<size_t> {};

TEST_P(FixtureTest, DecodesToPillowsPixels) {
  const Fixture& fixture = Fixtures()[GetParam()];
  EXPECT_THAT(ProbeImage(fixture.file), IsOkAndHolds(fixture.size));
  Image image;
  ASSERT_THAT(DecodeImage(fixture.file, image), IsOk());
  EXPECT_EQ(image.size, fixture.size);
  ResizeScratch scratch;
  Image rgb;
  ResizeToRgb(image, image.size, scratch, rgb);
  EXPECT_EQ(Crc(rgb.pixels), fixture.rgb_crc);
  ResizeToRgb(image, {.height = 7, .width = 11}, scratch, rgb);
  EXPECT_EQ(Crc(rgb.pixels), fixture.small_crc);
}

TEST_P(FixtureTest, EveryCutIsAnErrorAndTrailingBytesAreNot) {
  const std::string_view file = Fixtures()[GetParam()].file;
  Image image;
  for (size_t size = 0; size < file.size(); ++size) {
    // An exact buffer lets a sanitizer see a read behind the end.
    const std::vector<char> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(DecodeImage(std::string_view(cut.data(), cut.size()), image).ok()) << size;
  }
  EXPECT_THAT(DecodeImage(std::string(file) + "zzzz", image), IsOk());
}

TEST_P(FixtureTest, DamagedFilesNeverBreakTheDecoder) {
  const std::string_view file = Fixtures()[GetParam()].file;
  std::mt19937_64 random = FreshGenerator();
  Image image;
  for (int round = 0; round < 300; ++round) {
    std::string bytes(file);
    for (int edit = 0; edit < 3; ++edit)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    if (DecodeImage(bytes, image).ok()) {
      EXPECT_EQ(image.pixels.size(), image.size.Area() * image.channels);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Pillow, FixtureTest, ::testing::Range(size_t{0}, Fixtures().size()));

// A JPEG of 16 x 16 pixels, as Pillow judges it and what is left of it.
constexpr std::string_view kRampJpeg =
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZG"
    "NywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT09PT09PT09PT09PT09PT09PT0//wAARCAAQABADASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAA"
    "BQb/xAAYEAACAwAAAAAAAAAAAAAAAAAABAUiMf/EABQBAQAAAAAAAAAAAAAAAAAAAAD/xAAUEQEAAAAAAAAAAAAA"
    "AAAAAAAA/9oADAMBAAIRAxEAPwCOVj8qMqx+VFFY/KjCsflQP//Z";

TEST(CodecTest, AJpegThatEndsEarlyIsAnErrorAndOneWithGarbageInsideIsNot) {
  std::string file;
  ASSERT_TRUE(absl::Base64Unescape(kRampJpeg, &file));
  Image image;
  ASSERT_THAT(DecodeImage(file, image), IsOk());
  EXPECT_EQ(Crc(image.pixels), 0x75301008);
  for (const size_t missing : {size_t{1}, size_t{2}, size_t{10}, file.size() / 2, file.size()}) {
    EXPECT_THAT(DecodeImage(file.substr(0, file.size() - missing), image),
                StatusIs(absl::StatusCode::kDataLoss))
        << missing;
  }
  ASSERT_THAT(DecodeImage(file + "zzzz", image), IsOk());
  EXPECT_EQ(Crc(image.pixels), 0x75301008);
  // Before the marker of the end.
  file.replace(file.size() - 12, 10, std::string(10, 0x5a));
  ASSERT_THAT(DecodeImage(file, image), IsOk());
  EXPECT_EQ(Crc(image.pixels), 0x03f43051);
}

// Of memory that the process had at once so far.
int64_t PeakKiB() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

// A PNG of one chunk more behind its header: `length` as the chunk says it, and what it holds.
std::string PngWithChunk(std::string_view type, uint32_t length, std::string_view content) {
  constexpr size_t kHeaderEnd = 33;
  Image image;
  image.Reshape({.height = 7, .width = 9}, 3);
  std::string file = EncodePng(image, 1).value();
  const auto big_endian = [](uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
    return bytes;
  };
  const std::string checked = absl::StrCat(type, content);
  const auto crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size())));
  return file.insert(kHeaderEnd, absl::StrCat(big_endian(length), checked, big_endian(crc)));
}

TEST(CodecTest, APngChunkThatSaysMoreThanTheFileHoldsTakesNoMemory) {
  Image image;
  for (const char* type : {"sPLT", "tEXt", "iCCP", "eXIf"}) {
    const std::string file = PngWithChunk(type, 0x50000000, "abc");
    const int64_t before = PeakKiB();
    EXPECT_THAT(DecodeImage(file, image), StatusIs(absl::StatusCode::kDataLoss)) << type;
    EXPECT_LT(PeakKiB() - before, 16 << 10) << type;
  }
}

TEST(CodecTest, APngTextThatUnpacksToMoreThanTheFileIsPassedOver) {
  const std::string text(1 << 20, 'x');
  uLongf packed_size = compressBound(text.size());
  std::string packed(packed_size, '\0');
  ASSERT_EQ(compress(reinterpret_cast<Bytef*>(packed.data()), &packed_size,
                     reinterpret_cast<const Bytef*>(text.data()), text.size()),
            Z_OK);
  packed.resize(packed_size);
  const std::string content = absl::StrCat(std::string("a\0\0", 3), packed);
  Image image;
  EXPECT_THAT(
      DecodeImage(PngWithChunk("zTXt", static_cast<uint32_t>(content.size()), content), image),
      IsOk());
  EXPECT_EQ(image.size.width, 9);
}

TEST(CodecTest, UnsupportedFilesSayWhy) {
  Image image;
  EXPECT_THAT(DecodeImage("GIF89a......", image),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("none of PNG, JPEG and WebP")));
}

TEST(CodecTest, AnimationsSayThatTheyAre) {
  Image image;
  for (const absl::Status& status :
       {DecodeImage(kWebpAnimation, image), ProbeImage(kWebpAnimation).status()}) {
    EXPECT_THAT(status,
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("an animated WebP image")));
  }
}

TEST(CodecTest, AFileWithoutBytesIsCalledThat) {
  Image image;
  EXPECT_THAT(ProbeImage(""), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("has 0 bytes")));
  EXPECT_THAT(DecodeImage("", image),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("has 0 bytes")));
}

TEST(CodecTest, OtherFormatsAreCalledByTheirName) {
  for (const auto& [bytes, format] :
       {std::pair(std::string_view("GIF89a......"), "a GIF image"),
        std::pair(std::string_view("II*\0\x08\0\0\0", 8), "a TIFF image"),
        std::pair(std::string_view("\0\0\0\x1c"
                                   "ftypavif",
                                   12),
                  "an AVIF image"),
        std::pair(std::string_view("<!DOCTYPE html><title>404"), "an HTML page")}) {
    EXPECT_THAT(ProbeImage(bytes), StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(format)));
  }
  EXPECT_THAT(ProbeImage("plain words"), StatusIs(absl::StatusCode::kUnimplemented,
                                                  "the bytes are none of PNG, JPEG and WebP"));
}

TEST(CodecTest, HugeAndEmptyImagesAreRefusedBeforeDecoding) {
  for (const std::string_view side :
       {std::string_view("\0\0\0\0", 4), std::string_view("\0\1\0\0", 4)}) {
    std::string bytes(kPngRgb.file);
    bytes.replace(16, 4, side);
    bytes.replace(20, 4, side);
    const auto crc =
        static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(bytes.data() + 12), 17));
    for (int i = 0; i < 4; ++i) bytes[29 + i] = static_cast<char>(crc >> (24 - 8 * i));
    EXPECT_THAT(ProbeImage(bytes), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("pixels")));
  }
}

TEST(CodecTest, PngRoundTripKeepsEveryPixel) {
  std::mt19937_64 random = FreshGenerator();
  for (const int channels : {1, 3, 4}) {
    for (const int level : {0, 1, 9}) {
      Image image;
      image.Reshape({.height = 28, .width = 31}, channels);
      for (uint8_t& pixel : image.pixels) pixel = static_cast<uint8_t>(random());
      const std::string file = EncodePng(image, level).value();
      Image decoded;
      ASSERT_THAT(DecodeImage(file, decoded), IsOk());
      EXPECT_EQ(decoded.channels, channels);
      EXPECT_EQ(decoded.pixels, image.pixels);
    }
  }
}

// A sample whose image finds no memory is not corrupt: preparation would exclude it for ever.
TEST(CodecTest, WantOfMemoryIsNoDamage) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer maps memory of its own and aborts without it";
#endif
  std::string jpeg(kJpegProgressive.file);  // whose decoder keeps the whole image
  const size_t frame = jpeg.find("\xff\xc2");
  ASSERT_NE(frame, jpeg.npos);
  constexpr std::string_view kSides("\x1f\x40\x1f\x40", 4);  // 8000 x 8000
  jpeg.replace(frame + 5, kSides.size(), kSides);
  Image wide;
  wide.Reshape({.height = 1, .width = 1'000'000}, 3);
  const std::string png = EncodePng(wide, 1).value();
  wide = {};
  malloc_trim(0);

  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit previous;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &previous), 0);
  const rlimit little = {.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE)) + (1 << 20),
                         .rlim_max = previous.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &little), 0);
  Image image;
  const absl::Status of_jpeg = DecodeImage(jpeg, image);
  const absl::Status of_png = DecodeImage(png, image);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &previous), 0);
  EXPECT_THAT(of_jpeg, StatusIs(absl::StatusCode::kResourceExhausted,
                                AllOf(HasSubstr("JPEG: no memory"), HasSubstr("ulimit -v"))));
  EXPECT_THAT(of_png, StatusIs(absl::StatusCode::kResourceExhausted,
                               AllOf(HasSubstr("PNG: no memory"), HasSubstr("ulimit -v"))));
}

}  // namespace
}  // namespace hetero::data
