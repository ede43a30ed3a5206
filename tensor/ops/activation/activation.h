#ifndef HETERO_TENSOR_OPS_ACTIVATION_ACTIVATION_H_
#define HETERO_TENSOR_OPS_ACTIVATION_ACTIVATION_H_

// Activations between the two products of a feed-forward block, each one pass.
//
//   squared ReLU   a = max(f, 0)² p,  p one factor a row or 1       (So et al. 2021, Primer)
//   GELU           a = x Φ(x), x = f + bias, Φ the normal distribution (Hendrycks, Gimpel 2016)
//     erf          Φ(x) = ½ (1 + erf(x / √2))
//     tanh         Φ(x) ≈ ½ (1 + tanh(c x (1 + κ x²))), c = 0.7978845608, κ = 0.044715; a is off by
//                  up to 4.7e-4
//   SwiGLU         a = g σ(g) u, g = f + bias in the first F columns, u in the others
//                                                                   (Shazeer 2020)
//
// Shape letters: T rows (any number, also zero), F features, D = 2 F.
// Rows may have gaps; vectors are dense. Values have one storage dtype; p, dp and dbias are in its
// compute dtype. Floor of bytes: every given [T,F] view once.
// Errors: INVALID_ARGUMENT naming the operand.

#include <cstdint>

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// `p_T` null: 1. `a` may be f where f is not needed again.
absl::Status SquaredReluForward(const ConstTensorView& f_TF, const ConstTensorView& p_T,
                                const TensorView& a_TF, Stream& stream);

struct SquaredReluBackwardArgs {
  ConstTensorView da_TF;
  ConstTensorView f_TF;
  ConstTensorView p_T;  // null: 1
  TensorView df_TF;     // may be da or f itself
  TensorView dp_T;      // null: not wanted; overwritten with Σ_f da max(f, 0)²
};
absl::Status SquaredReluBackward(const SquaredReluBackwardArgs& args, Stream& stream);

enum class GeluForm : uint8_t { kTanh, kErf };

// `bias_F` null: none. `a` may be f where f is not needed again.
absl::Status GeluForward(GeluForm form, const ConstTensorView& f_TF, const ConstTensorView& bias_F,
                         const TensorView& a_TF, Stream& stream);

struct GeluBackwardArgs {
  GeluForm form = GeluForm::kTanh;
  ConstTensorView da_TF;
  ConstTensorView f_TF;    // before the bias
  ConstTensorView bias_F;  // null: none
  TensorView df_TF;        // may be da or f itself
  TensorView dbias_F;      // null: not wanted; Σ_t df in row order
  bool accumulate = true;  // add to dbias instead of overwriting it
};
absl::Status GeluBackward(const GeluBackwardArgs& args, Stream& stream);

// `bias_D` null: none.
absl::Status SwiGluForward(const ConstTensorView& f_TD, const ConstTensorView& bias_D,
                           const TensorView& a_TF, Stream& stream);

struct SwiGluBackwardArgs {
  ConstTensorView da_TF;
  ConstTensorView f_TD;    // before the bias
  ConstTensorView bias_D;  // null: none
  TensorView df_TD;        // may be f itself
  TensorView dbias_D;      // null: not wanted; Σ_t df in row order
  bool accumulate = true;  // add to dbias instead of overwriting it
};
absl::Status SwiGluBackward(const SwiGluBackwardArgs& args, Stream& stream);

namespace internal {

// Preconditions: validated arguments.
absl::Status SquaredReluForwardCpu(const ConstTensorView& f_TF, const ConstTensorView& p_T,
                                   const TensorView& a_TF);
absl::Status SquaredReluBackwardCpu(const SquaredReluBackwardArgs& args);
absl::Status GeluForwardCpu(GeluForm form, const ConstTensorView& f_TF,
                            const ConstTensorView& bias_F, const TensorView& a_TF);
absl::Status GeluBackwardCpu(const GeluBackwardArgs& args);
absl::Status SwiGluForwardCpu(const ConstTensorView& f_TD, const ConstTensorView& bias_D,
                              const TensorView& a_TF);
absl::Status SwiGluBackwardCpu(const SwiGluBackwardArgs& args);

absl::Status SquaredReluForwardCuda(const ConstTensorView& f_TF, const ConstTensorView& p_T,
                                    const TensorView& a_TF, Stream& stream);
absl::Status SquaredReluBackwardCuda(const SquaredReluBackwardArgs& args, Stream& stream);
absl::Status GeluForwardCuda(GeluForm form, const ConstTensorView& f_TF,
                             const ConstTensorView& bias_F, const TensorView& a_TF, Stream& stream);
// `partials_PF` f32 [parts of RowParts(T), F]: scratch; null where dbias is not wanted.
absl::Status GeluBackwardCuda(const GeluBackwardArgs& args, const TensorView& partials_PF,
                              Stream& stream);
absl::Status SwiGluForwardCuda(const ConstTensorView& f_TD, const ConstTensorView& bias_D,
                               const TensorView& a_TF, Stream& stream);
// `partials_PD` as above.
absl::Status SwiGluBackwardCuda(const SwiGluBackwardArgs& args, const TensorView& partials_PD,
                                Stream& stream);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_TENSOR_OPS_ACTIVATION_ACTIVATION_H_
