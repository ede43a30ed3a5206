#ifndef HETERO_TENSOR_OPS_DISPATCH_H_
#define HETERO_TENSOR_OPS_DISPATCH_H_

// Which side of an operation runs: the one of its stream's device.
//
//   return HETERO_DISPATCH(stream, internal::AddCpu(a, b, out),
//                          internal::AddCuda(a, b, out, stream));
//
// Both expressions are an absl::Status and only one is evaluated. Built without --config=cuda the
// second needs no definition, and a CUDA stream gives UNIMPLEMENTED. README.md shows the whole
// pattern.

#include <cstddef>

#include "absl/status/status.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/stream.h"

#ifdef HETERO_CUDA
#define HETERO_DISPATCH(stream, cpu, cuda) \
  ((stream).device().kind == ::hetero::DeviceKind::kCuda ? (cuda) : (cpu))
#else
#define HETERO_DISPATCH(stream, cpu, cuda)                  \
  ((stream).device().kind == ::hetero::DeviceKind::kCuda    \
       ? ::hetero::internal::BuiltWithoutCuda(sizeof(cuda)) \
       : (cpu))

namespace hetero::internal {

// Takes the size of what is not evaluated: so it is checked by the compiler all the same.
inline absl::Status BuiltWithoutCuda(size_t) {
  return absl::UnimplementedError(
      "this program was built without CUDA; build it with --config=cuda");
}

}  // namespace hetero::internal
#endif

#endif  // HETERO_TENSOR_OPS_DISPATCH_H_
