#ifndef HETERO_CKPT_FORMAT_ELEMENT_TYPE_H_
#define HETERO_CKPT_FORMAT_ELEMENT_TYPE_H_

// Element types of tensors in files: those that we compute with (DType) and the others that a
// checkpoint may hold.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"
#include "hetero/tensor/dtype.h"

namespace hetero {

// In the order of the safetensors format.
enum class ElementType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

inline constexpr int kNumElementTypes = static_cast<int>(ElementType::kU64) + 1;

// F4 and F6 take less than a byte, packed.
int BitsOf(ElementType type);

// As safetensors writes it, "BF16".
std::string_view SafetensorsName(ElementType type);
std::optional<ElementType> ElementTypeOfSafetensors(std::string_view name);

// The same in small letters, "bf16": messages and manifests. That of a DType is Name(dtype).
std::string_view Name(ElementType type);
std::optional<ElementType> ElementTypeNamed(std::string_view name);

ElementType ElementTypeOf(DType dtype);

// Nothing for a type that we do not compute with.
std::optional<DType> DTypeOf(ElementType type);

// Bytes of a dense tensor. INVALID_ARGUMENT for a negative dim, a size above 2^59 bytes, or packed
// elements that do not fill their last byte.
absl::StatusOr<int64_t> PayloadBytes(ElementType type, std::span<const int64_t> shape);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_ELEMENT_TYPE_H_
