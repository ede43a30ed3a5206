#ifndef HETERO_CKPT_FORMAT_TORCH_TYPES_H_
#define HETERO_CKPT_FORMAT_TORCH_TYPES_H_

// What PyTorch calls element types.

#include <optional>
#include <string_view>

#include "hetero/ckpt/format/element_type.h"

namespace hetero {

struct TorchType {
  ElementType type;
  std::string_view dtype;    // "bfloat16" of module torch
  std::string_view storage;  // "BFloat16Storage"; empty: an UntypedStorage, its size in bytes
};

// Nothing for types that PyTorch does not have or packs in its own way (F4, F6).
std::optional<TorchType> TorchTypeOf(ElementType type);
std::optional<TorchType> TorchTypeOfDtype(std::string_view dtype);
std::optional<TorchType> TorchTypeOfStorage(std::string_view storage);

}  // namespace hetero

#endif  // HETERO_CKPT_FORMAT_TORCH_TYPES_H_
