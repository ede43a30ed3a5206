#ifndef HETERO_TENSOR_DTYPE_H_
#define HETERO_TENSOR_DTYPE_H_

// Element types. f64 exists for gradient checks on the CPU; bf16 for storage on accelerators.

#include <bit>
#include <cstdint>
#include <string_view>

namespace hetero {

enum class DType : uint8_t { kF64, kF32, kBF16, kI32, kI64 };

// bfloat16 storage: the upper half of an IEEE binary32; conversion from float rounds to nearest,
// ties to even, and keeps NaN a NaN.
class BFloat16 {
 public:
  BFloat16() = default;
  explicit BFloat16(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
      bits_ = static_cast<uint16_t>((bits >> 16) | 0x40u);
    } else {
      bits_ = static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    }
  }
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<uint32_t>(bits_) << 16);
  }
  uint16_t bits() const { return bits_; }

 private:
  uint16_t bits_ = 0;
};

constexpr int64_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
      return 2;
  }
  return 0;
}

constexpr std::string_view Name(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "f64";
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
  }
  return "?";
}

constexpr bool IsFloating(DType dtype) { return dtype <= DType::kBF16; }

// Type of sums, statistics and main gradients for values stored as `storage`: max(f32, storage).
constexpr DType ComputeDType(DType storage) {
  return storage == DType::kF64 ? DType::kF64 : DType::kF32;
}

template <typename T>
inline constexpr DType kDTypeOf = [] {
  static_assert(sizeof(T) == 0, "not an element type");
  return DType::kF32;
}();
template <>
inline constexpr DType kDTypeOf<double> = DType::kF64;
template <>
inline constexpr DType kDTypeOf<float> = DType::kF32;
template <>
inline constexpr DType kDTypeOf<BFloat16> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<int64_t> = DType::kI64;

}  // namespace hetero

#endif  // HETERO_TENSOR_DTYPE_H_
