#ifndef HETERO_TENSOR_OPS_GEMM_GEMM_H_
#define HETERO_TENSOR_OPS_GEMM_GEMM_H_

// Matrix products over row-major strided views, and the products of a linear layer.
//
// Shape letters: T rows (tokens), K input features, N output features.
// Inputs of a call have one dtype: f32 or f64 on the CPU, f32 or bf16 on a GPU. An output has that
// too, or f32, the type that sums have inside. Views may be slices of wider matrices (rows with
// gaps). Outputs must not overlap inputs, but `added`
// may be c. Any extent may be zero. A GPU takes 32 MiB of scratch.
// Errors: INVALID_ARGUMENT naming the operand whose shape or dtype does not fit; RESOURCE_EXHAUSTED
// where the CPU's library finds no memory to pack operands.

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

struct GemmArgs {
  ConstTensorView a;           // [m, k]; [k, m] if transpose_a
  ConstTensorView b;           // [k, n]; [n, k] if transpose_b
  TensorView c;                // [m, n]
  ConstTensorView bias = {};   // [n], of c's dtype, added to every row; null: none
  ConstTensorView added = {};  // [m, n], of c's dtype: what beta multiplies, instead of c
  bool transpose_a = false;
  bool transpose_b = false;
  double alpha = 1;
  double beta = 0;                 // 0: neither c nor `added` is read
  std::string_view name = "gemm";  // in the stream's ledger; a string literal
};

// c = alpha op(a) op(b) + bias + beta c.
absl::Status Gemm(const GemmArgs& args, Stream& stream);

// y = x wᵀ + bias. `bias_N` has y's dtype; null: none.
absl::Status LinearForward(const ConstTensorView& x_TK, const ConstTensorView& w_NK,
                           const ConstTensorView& bias_N, const TensorView& y_TN, Stream& stream);

// dx = dy w, added to dx if `accumulate`.
absl::Status LinearBackwardInput(const ConstTensorView& dy_TN, const ConstTensorView& w_NK,
                                 const TensorView& dx_TK, bool accumulate, Stream& stream);

// dw = dyᵀ x, added to dw if `accumulate`: bf16 inputs may go straight to an f32 main gradient.
absl::Status LinearBackwardWeight(const ConstTensorView& dy_TN, const ConstTensorView& x_TK,
                                  const TensorView& dw_NK, bool accumulate, Stream& stream);

// dbias = Σ_t dy in ComputeDType, in an order that the extents fix, added to dbias if `accumulate`.
absl::Status BiasBackward(const ConstTensorView& dy_TN, const TensorView& dbias_N, bool accumulate,
                          Stream& stream);

namespace internal {

absl::Status GemmCpu(const GemmArgs& args);
absl::Status BiasBackwardCpu(const ConstTensorView& dy, bool accumulate, const TensorView& dbias);

absl::Status GemmCuda(const GemmArgs& args, const TensorView& scratch, Stream& stream);
// `parts` f32 [parts, N]: scratch for the sums of `rows_per_part` rows each; null where one is all.
absl::Status BiasBackwardCuda(const ConstTensorView& dy, bool accumulate, const TensorView& parts,
                              int64_t rows_per_part, const TensorView& dbias, Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_GEMM_GEMM_H_
