#ifndef HETERO_TENSOR_OPS_GEMM_MATMUL_CUDA_H_
#define HETERO_TENSOR_OPS_GEMM_MATMUL_CUDA_H_

// Products on raw device pointers, for use inside other operations: the pair of gemm_cpu.h, on
// cuBLASLt. f32 is computed in f32 (no TF32), bf16 with f32 sums. The algorithm is the library's
// choice for the shape, kept with the stream; it is the same every time, and so are the bits.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/stream.h"

namespace hetero::cuda {

// Row-major c[m,n] = alpha op(a)[m,k] op(b)[k,n] + beta added + bias[n], `batch` times. Strides
// count elements between rows as stored, batch strides those between products; 0 repeats an input.
struct MatmulArgs {
  bool transpose_a = false;
  bool transpose_b = false;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  DType dtype = DType::kF32;    // of a and b: f32 or bf16
  DType c_dtype = DType::kF32;  // the same, or f32
  double alpha = 1;
  double beta = 0;
  const void* a = nullptr;
  int64_t stride_a = 0;
  const void* b = nullptr;
  int64_t stride_b = 0;
  void* c = nullptr;
  int64_t stride_c = 0;
  const void* added = nullptr;  // of c_dtype, not read where beta is 0; null: c; a batch needs c
  int64_t stride_added = 0;
  const void* bias = nullptr;  // of c_dtype, aligned to 16 bytes; null: none
  int64_t batch = 1;
  int64_t batch_stride_a = 0;
  int64_t batch_stride_b = 0;
  int64_t batch_stride_c = 0;
};

// Scratch of a product; for sums over parts of k, whose order the shape fixes.
inline constexpr int64_t kMatmulScratchBytes = int64_t{32} << 20;

// From the stream's workspace; null on devices that are no GPU and predict none. An operation takes
// it, under its ArenaScope, where it checks its operands.
inline absl::StatusOr<TensorView> AllocateMatmulScratch(Stream& stream) {
  if (!stream.device().IsCuda()) return TensorView();
  return stream.workspace().Allocate(DType::kF32, {kMatmulScratchBytes / 4});
}

// Precondition: m, n, k and batch are positive; `scratch` is AllocateMatmulScratch's.
// Errors: INVALID_ARGUMENT another dtype; UNIMPLEMENTED no algorithm for the shape; INTERNAL.
absl::Status Matmul(const MatmulArgs& args, const TensorView& scratch, Stream& stream);

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_OPS_GEMM_MATMUL_CUDA_H_
