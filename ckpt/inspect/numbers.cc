#include "hetero/ckpt/inspect/numbers.h"

#include <cmath>
#include <cstring>

namespace hetero {
namespace {

// IEEE 754 binary16; subnormal numbers are multiples of 2^-24.
double HalfToDouble(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const double fraction = bits & 1023;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? std::nan("") : sign * HUGE_VAL;
  return sign *
         (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

template <typename T>
T At(std::span<const std::byte> bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

bool IsFloat(ElementType type) {
  return type == ElementType::kF16 || type == ElementType::kBF16 || type == ElementType::kF32 ||
         type == ElementType::kF64;
}

double NumberAt(ElementType type, std::span<const std::byte> bytes, int64_t index) {
  switch (type) {
    case ElementType::kF16:
      return HalfToDouble(At<uint16_t>(bytes, index));
    case ElementType::kBF16: {
      const uint32_t bits = uint32_t{At<uint16_t>(bytes, index)} << 16;
      float number;
      std::memcpy(&number, &bits, sizeof(number));
      return number;
    }
    case ElementType::kF32:
      return At<float>(bytes, index);
    default:
      return At<double>(bytes, index);
  }
}

}  // namespace hetero
