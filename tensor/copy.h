#ifndef HETERO_TENSOR_COPY_H_
#define HETERO_TENSOR_COPY_H_

// Copies between the host and the device of a stream. On the CPU both are ordinary memory.
//
// Both views have one dtype and equal dims, with gaps in dim 0 only. A copy is queued like any
// operation; without waiting when the host side is a PinnedBuffer's, which must then stay
// untouched until the stream has passed the copy: Synchronize or an Event tells. Any other host
// memory may be reused at once after CopyToDevice, and is not filled before Synchronize after
// CopyToHost.
// Errors: INVALID_ARGUMENT naming the operand; INTERNAL what the device ran into.

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

absl::Status CopyToDevice(const ConstTensorView& host, const TensorView& device, Stream& stream);

absl::Status CopyToHost(const ConstTensorView& device, const TensorView& host, Stream& stream);

}  // namespace hetero

#endif  // HETERO_TENSOR_COPY_H_
