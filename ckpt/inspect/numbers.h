#ifndef HETERO_CKPT_INSPECT_NUMBERS_H_
#define HETERO_CKPT_INSPECT_NUMBERS_H_

// Elements of stored tensors as numbers.

#include <cstddef>
#include <cstdint>
#include <span>

#include "hetero/ckpt/format/element_type.h"

namespace hetero {

// f16, bf16, f32 or f64.
bool IsFloat(ElementType type);

// Element `index` of a tensor's `bytes`. Precondition: IsFloat.
double NumberAt(ElementType type, std::span<const std::byte> bytes, int64_t index);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_NUMBERS_H_
