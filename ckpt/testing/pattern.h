#ifndef HETERO_CKPT_TESTING_PATTERN_H_
#define HETERO_CKPT_TESTING_PATTERN_H_

// Values that tell which tensor and which element of it they are of, exact in every type: what a
// box holds can be checked in any layout without the original.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "hetero/ckpt/checkpoint_tensor.h"

namespace hetero {

// -128 to 127, of element `index` of the whole tensor.
int PatternValue(std::string_view key, int64_t index);

// Writes the pattern, plus `shift`, into all pieces. On the CPU; f32, bf16, f64, i32, i64.
void FillPattern(std::span<const CheckpointTensor> tensors, int shift = 0);

// Every element becomes `value`.
void FillValue(std::span<const CheckpointTensor> tensors, int value);

// Where pieces first differ from the pattern, in words; empty: nowhere.
std::string PatternDifference(std::span<const CheckpointTensor> tensors, int shift = 0);

}  // namespace hetero

#endif  // HETERO_CKPT_TESTING_PATTERN_H_
