#include "hetero/ckpt/format/element_type.h"

#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

struct Facts {
  int bits;
  std::string_view safetensors;
  std::string_view name;
};

// By ElementType.
constexpr Facts kFacts[] = {
    {8, "BOOL", "bool"},
    {4, "F4", "f4"},
    {6, "F6_E2M3", "f6_e2m3"},
    {6, "F6_E3M2", "f6_e3m2"},
    {8, "U8", "u8"},
    {8, "I8", "i8"},
    {8, "F8_E5M2", "f8_e5m2"},
    {8, "F8_E4M3", "f8_e4m3"},
    {8, "F8_E8M0", "f8_e8m0"},
    {8, "F8_E4M3FNUZ", "f8_e4m3fnuz"},
    {8, "F8_E5M2FNUZ", "f8_e5m2fnuz"},
    {16, "I16", "i16"},
    {16, "U16", "u16"},
    {16, "F16", "f16"},
    {16, "BF16", "bf16"},
    {32, "I32", "i32"},
    {32, "U32", "u32"},
    {32, "F32", "f32"},
    {64, "C64", "c64"},
    {64, "F64", "f64"},
    {64, "I64", "i64"},
    {64, "U64", "u64"},
};
static_assert(std::size(kFacts) == kNumElementTypes);

const Facts& FactsOf(ElementType type) { return kFacts[static_cast<int>(type)]; }

std::optional<ElementType> Find(std::string_view Facts::*field, std::string_view value) {
  for (int i = 0; i < kNumElementTypes; ++i) {
    if (kFacts[i].*field == value) return static_cast<ElementType>(i);
  }
  return std::nullopt;
}

// Bits of it fit in 62, which leaves room for offsets behind such a tensor.
constexpr int64_t kMaxBytes = int64_t{1} << 59;

}  // namespace

int BitsOf(ElementType type) { return FactsOf(type).bits; }

std::string_view SafetensorsName(ElementType type) { return FactsOf(type).safetensors; }

std::optional<ElementType> ElementTypeOfSafetensors(std::string_view name) {
  return Find(&Facts::safetensors, name);
}

std::string_view Name(ElementType type) { return FactsOf(type).name; }

std::optional<ElementType> ElementTypeNamed(std::string_view name) {
  return Find(&Facts::name, name);
}

ElementType ElementTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return ElementType::kF64;
    case DType::kF32:
      return ElementType::kF32;
    case DType::kBF16:
      return ElementType::kBF16;
    case DType::kI32:
      return ElementType::kI32;
    case DType::kI64:
      return ElementType::kI64;
  }
  return ElementType::kU8;
}

std::optional<DType> DTypeOf(ElementType type) {
  switch (type) {
    case ElementType::kF64:
      return DType::kF64;
    case ElementType::kF32:
      return DType::kF32;
    case ElementType::kBF16:
      return DType::kBF16;
    case ElementType::kI32:
      return DType::kI32;
    case ElementType::kI64:
      return DType::kI64;
    default:
      return std::nullopt;
  }
}

absl::StatusOr<int64_t> PayloadBytes(ElementType type, std::span<const int64_t> shape) {
  const auto error = [&](std::string_view rule) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape [", absl::StrJoin(shape, ", "), "] of ", Name(type), " ", rule));
  };
  bool is_empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0) return error("has a negative dim");
    if (dim == 0) is_empty = true;
  }
  if (is_empty) return 0;
  int64_t bits = BitsOf(type);
  for (const int64_t dim : shape) {
    if (__builtin_mul_overflow(bits, dim, &bits) || bits / 8 > kMaxBytes) {
      return error("has too many elements; at most 2^59 bytes");
    }
  }
  if (bits % 8 != 0) return error("does not fill its last byte");
  return bits / 8;
}

}  // namespace hetero
