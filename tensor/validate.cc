#include "hetero/tensor/validate.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"

namespace hetero {

absl::Status ExpectShape(std::string_view operand, const ConstTensorView& view,
                         std::initializer_list<int64_t> dims) {
  bool fits = view.rank() == static_cast<int>(dims.size());
  for (int i = 0; fits && i < view.rank(); ++i) {
    const int64_t expected = dims.begin()[i];
    fits = expected == kAnyDim || expected == view.dim(i);
  }
  if (fits && (!view.is_null() || view.num_elements() == 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(operand, " is ", view.ToString(), "; expected [",
                   absl::StrJoin(dims, ",",
                                 [](std::string* out, int64_t dim) {
                                   absl::StrAppend(out, dim == kAnyDim ? "*" : absl::StrCat(dim));
                                 }),
                   "]"));
}

absl::Status ExpectDType(std::string_view operand, const ConstTensorView& view, DType dtype) {
  if (view.dtype() == dtype) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(operand, " is ", view.ToString(), "; expected ", Name(dtype)));
}

absl::Status ExpectDense(std::string_view operand, const ConstTensorView& view, DType dtype,
                         std::initializer_list<int64_t> dims) {
  HETERO_RETURN_IF_ERROR(ExpectShape(operand, view, dims));
  HETERO_RETURN_IF_ERROR(ExpectDType(operand, view, dtype));
  if (view.is_contiguous()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(operand, " is ", view.ToString(), "; expected no gaps between rows"));
}

absl::Status ExpectMatrix(std::string_view operand, const ConstTensorView& view, DType dtype,
                          int64_t rows, int64_t columns) {
  HETERO_RETURN_IF_ERROR(ExpectShape(operand, view, {rows, columns}));
  return ExpectDType(operand, view, dtype);
}

absl::Status ExpectMatrixLike(std::string_view operand, const ConstTensorView& view,
                              const ConstTensorView& like) {
  return ExpectMatrix(operand, view, like.dtype(), like.dim(0), like.dim(1));
}

absl::Status ExpectRows(std::string_view operand, const ConstTensorView& view) {
  if (view.rank() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(operand, " has no dims; expected at least one"));
  }
  if (view.is_null() && view.num_elements() > 0) {
    return absl::InvalidArgumentError(absl::StrCat(operand, " is null; expected memory"));
  }
  int64_t stride = 1;
  for (int i = view.rank() - 1; i > 0; --i) {
    if (view.dim(i) != 1 && view.stride(i) != stride) {
      return absl::InvalidArgumentError(
          absl::StrCat(operand, " is ", view.ToString(), "; gaps are allowed in dim 0 only"));
    }
    stride *= view.dim(i);
  }
  return absl::OkStatus();
}

}  // namespace hetero
