#include "hetero/tensor/copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"
#include "hetero/tensor/validate.h"

namespace hetero {
namespace {

absl::Status Copy(std::string_view operation, const ConstTensorView& source,
                  const TensorView& destination, Stream& stream) {
  HETERO_RETURN_IF_ERROR(ExpectRows("source", source)).With(operation);
  HETERO_RETURN_IF_ERROR(ExpectRows("destination", destination)).With(operation);
  HETERO_RETURN_IF_ERROR(ExpectDType("destination", destination, source.dtype())).With(operation);
  if (!std::ranges::equal(source.dims(), destination.dims())) {
    return absl::InvalidArgumentError(absl::StrCat(operation, ": destination is ",
                                                   destination.ToString(),
                                                   "; expected the dims of ", source.ToString()));
  }
  OperationScope scope(stream, {operation, 0, 2.0 * source.num_bytes()});
  if (!scope.launches() || source.num_elements() == 0) return absl::OkStatus();
  const int64_t size = SizeOf(source.dtype());
  const int64_t rows = source.dim(0);
  const cuda::RowCopy copy = {.to = destination.address(),
                              .to_pitch = destination.stride(0) * size,
                              .from = source.address(),
                              .from_pitch = source.stride(0) * size,
                              .row_bytes = source.num_bytes() / rows,
                              .rows = rows};
  if (stream.device().kind == DeviceKind::kCuda) {
    return cuda::CopyRows(stream.device().ordinal, copy, stream.handle());
  }
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(static_cast<char*>(copy.to) + r * copy.to_pitch,
                static_cast<const char*>(copy.from) + r * copy.from_pitch, copy.row_bytes);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CopyToDevice(const ConstTensorView& host, const TensorView& device, Stream& stream) {
  return Copy("copy_to_device", host, device, stream);
}

absl::Status CopyToHost(const ConstTensorView& device, const TensorView& host, Stream& stream) {
  return Copy("copy_to_host", device, host, stream);
}

}  // namespace hetero
