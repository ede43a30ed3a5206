#ifndef HETERO_MODELS_BLOCKS_WEIGHT_GRADIENT_H_
#define HETERO_MODELS_BLOCKS_WEIGHT_GRADIENT_H_

#include "hetero/models/blocks/context.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Whether a backward in `context` computes the gradient of `parameter`: not of a frozen one.
inline bool WantsGradient(const ModuleContext& context, const Parameter& parameter) {
  return context.needs_weight_gradient && !parameter.gradient.is_null();
}

// What a backward passes on to an operation that computes the gradient of a parameter.
struct WeightGradient {
  TensorView view;          // null: not wanted
  bool accumulate = false;  // false: overwritten

  bool wanted() const { return !view.is_null(); }
};

// The main gradient of `parameter`, to be written by the caller: where it is wanted, it counts as
// written from now on.
inline WeightGradient WeightGradientOf(const ModuleContext& context, Parameter& parameter) {
  if (!WantsGradient(context, parameter)) return {};
  return {.view = parameter.gradient, .accumulate = parameter.AccumulateGradient()};
}

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_WEIGHT_GRADIENT_H_
