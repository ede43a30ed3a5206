#include "hetero/tensor/ops/elementwise/elementwise.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/dispatch.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status ExpectLike(std::string_view operand, const ConstTensorView& view,
                        const ConstTensorView& like) {
  HETERO_RETURN_IF_ERROR(ExpectRows(operand, view));
  if (std::ranges::equal(view.dims(), like.dims())) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(operand, " is ", view.ToString(), "; expected the dims of ", like.ToString()));
}

}  // namespace

absl::Status Add(const ConstTensorView& a, const ConstTensorView& b, const TensorView& out,
                 Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectRows("a", a));
  HETERO_RETURN_IF_ERROR(ExpectLike("b", b, a));
  HETERO_RETURN_IF_ERROR(ExpectDType("b", b, a.dtype()));
  HETERO_RETURN_IF_ERROR(ExpectLike("out", out, a));
  HETERO_RETURN_IF_ERROR(ExpectDType("out", out, a.dtype()));
  OperationScope scope(stream, {"add", 1.0 * a.num_elements(), 3.0 * a.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::AddCpu(a, b, out), internal::AddCuda(a, b, out, stream));
}

absl::Status Fill(double value, const TensorView& x, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectRows("x", x));
  OperationScope scope(stream, {"fill", 0, 1.0 * x.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::FillCpu(value, x), internal::FillCuda(value, x, stream));
}

absl::Status Copy(const ConstTensorView& source, const TensorView& destination, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectRows("source", source));
  HETERO_RETURN_IF_ERROR(ExpectLike("destination", destination, source));
  const bool counts = source.dtype() == DType::kI64 && destination.dtype() == DType::kF64;
  if (source.dtype() != destination.dtype() && !counts &&
      (!IsFloating(source.dtype()) || !IsFloating(destination.dtype()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("source is ", source.ToString(), " and destination ", destination.ToString(),
                     "; of integers, i64 alone is converted, and to f64 alone"));
  }
  OperationScope scope(stream, {"copy", 0, 1.0 * source.num_bytes() + destination.num_bytes()});
  if (!scope.launches()) return absl::OkStatus();
  return HETERO_DISPATCH(stream, internal::CopyCpu(source, destination),
                         internal::CopyCuda(source, destination, stream));
}

}  // namespace hetero
