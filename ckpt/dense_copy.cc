#include "hetero/ckpt/dense_copy.h"

#include <algorithm>
#include <array>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/tensor/copy.h"

namespace hetero {
namespace {

// Runs of elements with gaps between them, from element `first` on.
template <typename View, typename Address>
View Rows(Address base, DType dtype, int64_t first, int64_t stride, int64_t rows, int64_t run) {
  using Byte =
      std::conditional_t<std::is_const_v<std::remove_pointer_t<Address>>, const char, char>;
  const auto address = static_cast<Byte*>(base) + first * SizeOf(dtype);
  if (rows == 1) return View(address, dtype, {1, run});
  return View(address, dtype, {rows, stride}).Columns(0, run);
}

// Calls `copy` for what of `runs`, which are in ascending order, is in the range.
template <typename Copy>
absl::Status ForEachInside(std::span<const RunRows> runs, IndexRange range, int64_t& copied,
                           Copy copy) {
  auto next = std::ranges::upper_bound(runs, range.first, {}, &RunRows::dense);
  if (next != runs.begin()) --next;
  std::vector<RunRows> parts;
  for (; next != runs.end() && next->dense < range.end(); ++next) {
    parts.clear();
    AppendInside(*next, range, parts);
    for (RunRows part : parts) {
      part.dense -= range.first;
      HETERO_RETURN_IF_ERROR(copy(part));
      copied += part.rows * part.run;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CopyToDense(const ConstTensorView& local, std::span<const RunRows> runs,
                         IndexRange range, void* host, Stream& stream, int64_t& copied) {
  const DType dtype = local.dtype();
  return ForEachInside(runs, range, copied, [&](const RunRows& part) {
    return CopyToHost(
        Rows<ConstTensorView>(local.address(), dtype, part.local, part.local_stride, part.rows,
                              part.run),
        Rows<TensorView>(host, dtype, part.dense, part.dense_stride, part.rows, part.run), stream);
  });
}

absl::Status CopyFromDense(const void* host, IndexRange range, std::span<const RunRows> runs,
                           const TensorView& local, Stream& stream, int64_t& copied) {
  const DType dtype = local.dtype();
  return ForEachInside(runs, range, copied, [&](const RunRows& part) {
    return CopyToDevice(
        Rows<ConstTensorView>(host, dtype, part.dense, part.dense_stride, part.rows, part.run),
        Rows<TensorView>(local.address(), dtype, part.local, part.local_stride, part.rows,
                         part.run),
        stream);
  });
}

}  // namespace hetero
