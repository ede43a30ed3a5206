#ifndef HETERO_TENSOR_VALIDATE_H_
#define HETERO_TENSOR_VALIDATE_H_

// Checks operations make once at their edge. Messages name the operand, what it is and what it
// should be.

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/tensor/view.h"

namespace hetero {

// In ExpectShape: any extent.
inline constexpr int64_t kAnyDim = -1;

// Errors: INVALID_ARGUMENT "x is f32[3,4]; expected [*,8]", also for a null view.
absl::Status ExpectShape(std::string_view operand, const ConstTensorView& view,
                         std::initializer_list<int64_t> dims);

// Errors: INVALID_ARGUMENT "x is bf16[3,4]; expected f32".
absl::Status ExpectDType(std::string_view operand, const ConstTensorView& view, DType dtype);

// ExpectShape, ExpectDType and no gaps between rows.
absl::Status ExpectDense(std::string_view operand, const ConstTensorView& view, DType dtype,
                         std::initializer_list<int64_t> dims);

// ExpectShape and ExpectDType of a matrix, whose rows may have gaps between them.
absl::Status ExpectMatrix(std::string_view operand, const ConstTensorView& view, DType dtype,
                          int64_t rows, int64_t columns);

// A matrix of the rows, columns and type of the matrix `like`.
absl::Status ExpectMatrixLike(std::string_view operand, const ConstTensorView& view,
                              const ConstTensorView& like);

// A tensor of one or more dims whose only gaps, if any, are between entries of dim 0.
// Errors: INVALID_ARGUMENT, also for a null view.
absl::Status ExpectRows(std::string_view operand, const ConstTensorView& view);

}  // namespace hetero

#endif  // HETERO_TENSOR_VALIDATE_H_
