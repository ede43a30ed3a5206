#ifndef HETERO_MODELS_BLOCKS_RESIDUAL_H_
#define HETERO_MODELS_BLOCKS_RESIDUAL_H_

// What every block of the residual stream does around its mixer: normalise the stream, and leave
// the gradients of its weights. T tokens, H hidden, N and K widths of a product.

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/context.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Calls `product(dy, stream)`, which adds to a weight's gradient, or leaves it with a copy of `dy`
// in the context's queue. Precondition: what else it reads stays as it is until then.
template <typename Product>
absl::Status NowOrLater(ModuleContext& context, ConstTensorView dy, Product product) {
  if (context.weight_gradients == nullptr) return product(dy, context.stream);
  HETERO_ASSIGN_OR_RETURN(const TensorView kept,
                          context.activations.Allocate(dy.dtype(), dy.dims()));
  HETERO_RETURN_IF_ERROR(Copy(dy, kept, context.stream));
  context.weight_gradients->Add(
      [kept, product = std::move(product)](Stream& stream) { return product(kept, stream); });
  return absl::OkStatus();
}

// dw += dyᵀ x into the parameter's main gradient. Does nothing for a frozen parameter or a context
// that wants no weight gradients. `x_TK` stays as it is until the context's queue has run.
absl::Status AddWeightGradient(ModuleContext& context, ConstTensorView dy_TN, ConstTensorView x_TK,
                               Parameter& weight_NK);

struct NormedHidden {
  TensorView normed_TH;
  TensorView rstd_T;
};

// RMSNorm of the stream: its factors in the activation arena, what is normed in context.brief().
absl::StatusOr<NormedHidden> NormHidden(ModuleContext& context, ConstTensorView hidden_TH,
                                        const Parameter& weight_H, double epsilon);

// What is normed once more, in context.recomputed(). `rstd_T` is NormHidden's, and is written
// again.
absl::StatusOr<TensorView> NormHiddenAgain(ModuleContext& context, ConstTensorView hidden_TH,
                                           TensorView rstd_T, const Parameter& weight_H,
                                           double epsilon);

// Adds the gradient that comes through the norm to `d_hidden_TH`, which holds what comes past it.
absl::Status NormHiddenBackward(ModuleContext& context, ConstTensorView d_normed_TH,
                                ConstTensorView hidden_TH, ConstTensorView rstd_T,
                                Parameter& weight_H, TensorView d_hidden_TH);

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_RESIDUAL_H_
