#ifndef HETERO_TENSOR_OPS_ELEMENTWISE_ELEMENTWISE_H_
#define HETERO_TENSOR_OPS_ELEMENTWISE_ELEMENTWISE_H_

// Element by element operations and sums over a whole tensor.
//
// A tensor here has one or more dims; all but the first are without gaps, so a matrix may be a
// slice of columns. Operands of a call have equal dims and, unless said otherwise, one dtype: f32
// or f64 on the CPU, bf16 too on a GPU, which computes it in f32 and rounds once. An output may be
// an input itself, not overlap one in another way. Errors: INVALID_ARGUMENT naming the operand.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// out = a + b.
absl::Status Add(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out,
                 Stream& stream);

// x = value. Any dtype; integers take the value truncated.
absl::Status Fill(double value, const TensorView& x, Stream& stream);

// destination = source, converted: between f64, f32 and bf16 (to nearest), from i64 to f64, or from
// a type to itself.
absl::Status Copy(const ConstTensorView& source, const TensorView& destination, Stream& stream);

namespace internal {

absl::Status AddCpu(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out);
absl::Status FillCpu(double value, const TensorView& x);
absl::Status CopyCpu(const ConstTensorView& source, const TensorView& destination);

absl::Status AddCuda(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out,
                     Stream& stream);
absl::Status FillCuda(double value, const TensorView& x, Stream& stream);
absl::Status CopyCuda(const ConstTensorView& source, const TensorView& destination, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ELEMENTWISE_ELEMENTWISE_H_
