#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/sha256.h"

namespace hetero {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// As Python's zlib.crc32 says.
TEST(Crc32Test, IsThatOfZip) {
  EXPECT_EQ(Crc32(Bytes("123456789")), 0xcbf43926);
  EXPECT_EQ(Crc32({}), 0);
  EXPECT_EQ(Crc32(Bytes("w")), 0x1c630b12);
  const std::vector<std::byte> zeros(8 << 20);
  EXPECT_EQ(Crc32(std::span(zeros).first(4 << 20)), 0x1147406a);
  EXPECT_EQ(Crc32(zeros), 0x1ad2bc45);
}

TEST(Crc32Test, BlocksCombineToTheWhole) {
  std::vector<uint32_t> counter(1048577);
  for (uint32_t i = 0; i < counter.size(); ++i) counter[i] = i;
  const auto bytes = std::as_bytes(std::span(counter));
  ASSERT_EQ(bytes.size(), 4194308);
  const uint32_t first = Crc32(bytes.first(4 << 20));
  const uint32_t second = Crc32(bytes.subspan(4 << 20));
  EXPECT_EQ(first, 0x05b0360d);
  EXPECT_EQ(second, 0x6b86cd4d);
  EXPECT_EQ(Crc32Combine(first, second, 4), 0x2da5d685);
  EXPECT_EQ(Crc32(bytes), 0x2da5d685);
}

// Any length, alignment and start, in one piece or in two.
TEST(Crc32Test, MultiplicationTablesAndPiecesAgree) {
  std::mt19937_64 random = FreshGenerator();
  std::vector<std::byte> bytes(4096);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (int i = 0; i < 5000; ++i) {
    const auto piece = std::span(bytes).subspan(random() % 64, random() % 700);
    const uint32_t before = static_cast<uint32_t>(random());
    const uint32_t whole = Crc32(piece, before);
    ASSERT_EQ(whole, internal::Crc32ByTable(piece, before)) << piece.size();
    const size_t cut = random() % (piece.size() + 1);
    const auto rest = piece.subspan(cut);
    const uint32_t first = Crc32(piece.first(cut), before);
    ASSERT_EQ(whole, Crc32(rest, first)) << piece.size() << " cut at " << cut;
    ASSERT_EQ(whole, Crc32Combine(first, Crc32(rest), static_cast<int64_t>(rest.size())));
  }
}

TEST(Crc32Test, EveryFlippedBitShows) {
  std::string text = "a checksum of more than sixty-four bytes, by which carry-less products count";
  const uint32_t sum = Crc32(Bytes(text));
  for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
    text[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_NE(Crc32(Bytes(text)), sum) << bit;
    text[bit / 8] ^= static_cast<char>(1 << bit % 8);
  }
}

// NIST's examples, and Python's hashlib around the length of a block.
TEST(Sha256Test, IsThatOfTheStandard) {
  EXPECT_EQ(Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(Sha256Hex(std::string(55, 'x')),
            "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  EXPECT_EQ(Sha256Hex(std::string(64, 'x')),
            "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
  EXPECT_EQ(Sha256Hex(std::string(119, 'x')),
            "000b48d4edf0fa7bee3c6236ecd2785baa5db4eeb8bb54341b029e0d9fa5fb0c");
}

}  // namespace
}  // namespace hetero
