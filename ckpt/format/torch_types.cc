#include "hetero/ckpt/format/torch_types.h"

#include <algorithm>
#include <iterator>

namespace hetero {
namespace {

constexpr TorchType kTypes[] = {
    {ElementType::kBool, "bool", "BoolStorage"},
    {ElementType::kU8, "uint8", "ByteStorage"},
    {ElementType::kI8, "int8", "CharStorage"},
    {ElementType::kF8E5M2, "float8_e5m2", ""},
    {ElementType::kF8E4M3, "float8_e4m3fn", ""},
    {ElementType::kF8E8M0, "float8_e8m0fnu", ""},
    {ElementType::kF8E4M3Fnuz, "float8_e4m3fnuz", ""},
    {ElementType::kF8E5M2Fnuz, "float8_e5m2fnuz", ""},
    {ElementType::kI16, "int16", "ShortStorage"},
    {ElementType::kU16, "uint16", ""},
    {ElementType::kF16, "float16", "HalfStorage"},
    {ElementType::kBF16, "bfloat16", "BFloat16Storage"},
    {ElementType::kI32, "int32", "IntStorage"},
    {ElementType::kU32, "uint32", ""},
    {ElementType::kF32, "float32", "FloatStorage"},
    {ElementType::kC64, "complex64", "ComplexFloatStorage"},
    {ElementType::kF64, "float64", "DoubleStorage"},
    {ElementType::kI64, "int64", "LongStorage"},
    {ElementType::kU64, "uint64", ""},
};

template <typename T>
std::optional<TorchType> Find(T TorchType::*field, T value) {
  const auto found = std::ranges::find(kTypes, value, field);
  if (found == std::end(kTypes)) return std::nullopt;
  return *found;
}

}  // namespace

std::optional<TorchType> TorchTypeOf(ElementType type) { return Find(&TorchType::type, type); }

std::optional<TorchType> TorchTypeOfDtype(std::string_view dtype) {
  return Find(&TorchType::dtype, dtype);
}

std::optional<TorchType> TorchTypeOfStorage(std::string_view storage) {
  if (storage.empty()) return std::nullopt;
  return Find(&TorchType::storage, storage);
}

}  // namespace hetero
