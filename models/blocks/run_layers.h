#ifndef HETERO_MODELS_BLOCKS_RUN_LAYERS_H_
#define HETERO_MODELS_BLOCKS_RUN_LAYERS_H_

// Layers of the residual stream one after another.

#include <cstdint>

#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/models/blocks/context.h"
#include "hetero/tensor/arena.h"

namespace hetero {

// For parts of which nothing is kept: what they would leave in the activation arena lies in the
// workspace, where the caller releases it.
inline ModuleContext KeepingNothing(const ModuleContext& context) {
  return {.stream = context.stream,
          .activations = context.stream.workspace(),
          .mode = context.mode,
          .needs_input_gradient = context.needs_input_gradient,
          .needs_weight_gradient = context.needs_weight_gradient,
          .weight_gradients = context.weight_gradients,
          .traffic = context.traffic,
          .watch = context.watch};
}

// Calls `forward(context, layer, hidden)`, which returns StatusOr<TensorView> of the shape of
// `hidden`, for layers [0, num_layers), each on what the one before returned; returns the last's.
// In evaluation that is all that stays in the activation arena: results lie in two places in turn,
// one of them and what else a layer takes in the workspace, and no memory grows with the number of
// layers.
template <typename View, typename Forward>
absl::StatusOr<View> RunLayers(ModuleContext& context, View hidden, int64_t num_layers,
                               Forward forward) {
  if (context.mode != Mode::kEval) {
    for (int64_t layer = 0; layer < num_layers; ++layer) {
      HETERO_ASSIGN_OR_RETURN(hidden, forward(context, layer, hidden));
      HETERO_RETURN_IF_ERROR(context.LayerReturned(hidden));
    }
    return hidden;
  }
  if (num_layers == 0) return hidden;
  HETERO_ASSIGN_OR_RETURN(const TensorView last,
                          context.activations.Allocate(hidden.dtype(), hidden.dims()));
  Arena& workspace = context.stream.workspace();
  ArenaScope scope(workspace);
  HETERO_ASSIGN_OR_RETURN(const TensorView other,
                          workspace.Allocate(hidden.dtype(), hidden.dims()));
  ModuleContext of_layer = KeepingNothing(context);
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    ArenaScope kept_by_nobody(workspace);
    of_layer.result = (num_layers - layer) % 2 == 1 ? last : other;
    HETERO_ASSIGN_OR_RETURN(hidden, forward(of_layer, layer, hidden));
    HETERO_RETURN_IF_ERROR(of_layer.LayerReturned(hidden));
  }
  return hidden;
}

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_RUN_LAYERS_H_
