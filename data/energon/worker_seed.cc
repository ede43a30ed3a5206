#include "hetero/data/energon/worker_seed.h"

#include <array>
#include <bit>
#include <cstddef>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace hetero::data {
namespace {

using Digest = std::array<uint32_t, 5>;

constexpr size_t kBlockBytes = 64;

// A text, the bit behind it and the 64 bits of its length.
constexpr size_t kLongestText = kBlockBytes - 1 - 8;

// SHA-1 of a text that fits in one block; section 6.1 of FIPS 180-4 has the names.
constexpr Digest Sha1(std::string_view text) {
  std::array<uint8_t, kBlockBytes> block{};
  for (size_t i = 0; i < text.size(); ++i) block[i] = static_cast<uint8_t>(text[i]);
  block[text.size()] = 0x80;
  const size_t num_bits = 8 * text.size();
  block[kBlockBytes - 2] = static_cast<uint8_t>(num_bits >> 8);
  block[kBlockBytes - 1] = static_cast<uint8_t>(num_bits);

  std::array<uint32_t, 80> w{};
  for (size_t t = 0; t < 16; ++t) {
    for (size_t byte = 0; byte < 4; ++byte) w[t] = (w[t] << 8) | block[4 * t + byte];
  }
  for (size_t t = 16; t < w.size(); ++t) {
    w[t] = std::rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  }
  const Digest initial = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  auto [a, b, c, d, e] = initial;
  for (size_t t = 0; t < w.size(); ++t) {
    uint32_t f = 0;
    uint32_t k = 0;
    switch (t / 20) {
      case 0:
        f = (b & c) ^ (~b & d);
        k = 0x5a827999;
        break;
      case 2:
        f = (b & c) ^ (b & d) ^ (c & d);
        k = 0x8f1bbcdc;
        break;
      default:
        f = b ^ c ^ d;
        k = t < 40 ? 0x6ed9eba1 : 0xca62c1d6;
    }
    const uint32_t next = std::rotl(a, 5) + f + e + k + w[t];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  return {initial[0] + a, initial[1] + b, initial[2] + c, initial[3] + d, initial[4] + e};
}

// Of the standard's examples and of an empty text.
static_assert(Sha1("abc") == Digest{0xa9993e36, 0x4706816a, 0xba3e2571, 0x7850c26c, 0x9cd0d89d});
static_assert(Sha1("") == Digest{0xda39a3ee, 0x5e6b4b0d, 0x3255bfef, 0x95601890, 0xafd80709});

// The seeds that Megatron-Energon 7.4 draws for single samples of a worker are first words.
static_assert(Sha1("273211461|0").front() == 1296091978);
static_assert(Sha1("273211461|1").front() == 1282064936);
static_assert(Sha1("273211461|7").front() == 1517757851);

// Both numbers with signs, and a comma.
static_assert(2 * 20 + 1 <= kLongestText);

}  // namespace

uint32_t WorkerSeed(int64_t worker, int64_t offset) {
  return Sha1(absl::StrCat(worker, ",", offset)).back();
}

}  // namespace hetero::data
