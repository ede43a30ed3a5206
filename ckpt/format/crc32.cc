#include "hetero/ckpt/format/crc32.h"

#include <array>
#include <cstring>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace hetero {
namespace {

constexpr uint32_t kPolynomial = 0xEDB88320u;

// Polynomials modulo the generator, reflected: bit 31 is the coefficient of 1, bit 0 of x^31.
constexpr uint32_t kOne = 0x80000000u;

constexpr uint32_t TimesX(uint32_t a) { return (a >> 1) ^ (a & 1 ? kPolynomial : 0); }

constexpr uint32_t Times(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = kOne; bit != 0; bit >>= 1) {
    if (a & bit) product ^= b;
    b = TimesX(b);
  }
  return product;
}

// x^n.
constexpr uint32_t PowerOfX(uint64_t n) {
  uint32_t power = kOne;
  uint32_t square = TimesX(kOne);
  for (; n != 0; n >>= 1) {
    if (n & 1) power = Times(power, square);
    square = Times(square, square);
  }
  return power;
}

// [k][b]: what the byte b does to the checksum when k bytes follow it.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables = {};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int i = 0; i < 8; ++i) value = TimesX(value);
    tables[0][byte] = value;
  }
  for (int k = 1; k < 8; ++k) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t value = tables[k - 1][byte];
      tables[k][byte] = (value >> 8) ^ tables[0][value & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

// `state` is the complement of a checksum.
uint32_t UpdateByTable(const std::byte* at, size_t count, uint32_t state) {
  for (; count >= 8; at += 8, count -= 8) {
    uint32_t low;
    uint32_t high;
    std::memcpy(&low, at, 4);
    std::memcpy(&high, at + 4, 4);
    low ^= state;
    state = kTables[7][low & 0xff] ^ kTables[6][low >> 8 & 0xff] ^ kTables[5][low >> 16 & 0xff] ^
            kTables[4][low >> 24] ^ kTables[3][high & 0xff] ^ kTables[2][high >> 8 & 0xff] ^
            kTables[1][high >> 16 & 0xff] ^ kTables[0][high >> 24];
  }
  for (; count > 0; ++at, --count) {
    state = (state >> 8) ^ kTables[0][(state ^ static_cast<uint8_t>(*at)) & 0xff];
  }
  return state;
}

#ifdef __x86_64__

// V. Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction",
// 2009: 128 bits are moved n bits ahead by the products of their halves with x^(n+64) and x^n.
// Reflected halves multiply to a product that lies one bit off, which the power of x makes good:
// x^(n-1) is what a half of 64 bits is multiplied with, in the upper half of a 64-bit word.
constexpr uint64_t Mover(uint64_t n) { return uint64_t{PowerOfX(n - 1)} << 32; }

[[gnu::target("pclmul,sse4.1")]] inline __m128i Move(__m128i value, __m128i movers) {
  return _mm_xor_si128(_mm_clmulepi64_si128(value, movers, 0x00),
                       _mm_clmulepi64_si128(value, movers, 0x11));
}

[[gnu::target("pclmul,sse4.1")]] inline __m128i Load(const std::byte* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

// Precondition: count >= 64. Folds all but the last count % 16 bytes.
[[gnu::target("pclmul,sse4.1")]] uint32_t UpdateByMultiplication(const std::byte* at, size_t count,
                                                                 uint32_t state) {
  constexpr int kLanes = 4;
  // The low half of 128 bits comes first, so is 64 bits further from the end than the high one.
  const __m128i by_lanes = _mm_set_epi64x(static_cast<int64_t>(Mover(128 * kLanes)),
                                          static_cast<int64_t>(Mover(128 * kLanes + 64)));
  const __m128i by_one =
      _mm_set_epi64x(static_cast<int64_t>(Mover(128)), static_cast<int64_t>(Mover(128 + 64)));
  __m128i lane[kLanes];
  for (int i = 0; i < kLanes; ++i) lane[i] = Load(at + 16 * i);
  lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128(static_cast<int32_t>(state)));
  at += 16 * kLanes;
  count -= 16 * kLanes;
  for (; count >= 16 * kLanes; at += 16 * kLanes, count -= 16 * kLanes) {
    for (int i = 0; i < kLanes; ++i) {
      lane[i] = _mm_xor_si128(Move(lane[i], by_lanes), Load(at + 16 * i));
    }
  }
  __m128i folded = lane[0];
  for (int i = 1; i < kLanes; ++i) folded = _mm_xor_si128(Move(folded, by_one), lane[i]);
  for (; count >= 16; at += 16, count -= 16) {
    folded = _mm_xor_si128(Move(folded, by_one), Load(at));
  }
  // The rest of the message has the checksum of these 16 bytes.
  std::byte rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), folded);
  return UpdateByTable(at, count, UpdateByTable(rest, sizeof(rest), 0));
}

bool CanMultiply() { return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1"); }

#endif

}  // namespace

uint32_t Crc32(std::span<const std::byte> bytes, uint32_t before) {
#ifdef __x86_64__
  if (bytes.size() >= 64 && CanMultiply()) {
    return ~UpdateByMultiplication(bytes.data(), bytes.size(), ~before);
  }
#endif
  return internal::Crc32ByTable(bytes, before);
}

uint32_t internal::Crc32ByTable(std::span<const std::byte> bytes, uint32_t before) {
  return ~UpdateByTable(bytes.data(), bytes.size(), ~before);
}

uint32_t Crc32Combine(uint32_t first, uint32_t second, int64_t second_bytes) {
  return Times(first, PowerOfX(static_cast<uint64_t>(second_bytes) * 8)) ^ second;
}

}  // namespace hetero
