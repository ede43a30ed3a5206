#ifndef HETERO_MODELS_BLOCKS_CONTEXT_H_
#define HETERO_MODELS_BLOCKS_CONTEXT_H_

// What a module is called with. Modules have no autograd: Forward fills a Saved struct of views
// into the activation arena, Backward reads it. A block of the residual stream looks like
//
//   absl::StatusOr<TensorView> Forward(ModuleContext&, ConstTensorView hidden_TH,
//                                      const SequenceBatch&, Saved&);
//   absl::Status Backward(ModuleContext&, const Saved&, TensorView d_hidden_TH);
//
// where Backward turns the gradient of the block's output into that of its input in place.

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/models/blocks/layer_watch.h"
#include "hetero/models/blocks/weight_gradient_queue.h"
#include "hetero/params/parameter_traffic.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

enum class Mode : uint8_t {
  kTrain,
  kEval,       // nothing is kept for backward, no statistics move
  kRecompute,  // forward again for backward: same values, statistics do not count twice
};

struct ModuleContext {
  Stream& stream;  // its workspace holds temporaries of a call, released before the call returns

  // Stack of one microbatch in flight: outputs of Forward and everything Saved lie here until the
  // owner releases the region after the microbatch's backward.
  Arena& activations;

  Mode mode = Mode::kTrain;
  bool needs_input_gradient = true;  // of the module's input; false for pixels and frozen parts
  bool needs_weight_gradient = true;

  // Forward keeps nothing that backward can make again in one pass over memory from what else is
  // kept: norms, activations, convolutions, rows gathered for experts. The numbers are the same.
  bool selective_recompute = false;

  // Where a backward leaves the weight gradients of linear layers, each with a copy of the gradient
  // that it is made of in `activations`; null: they are computed at once.
  WeightGradientQueue* weight_gradients = nullptr;

  // What is told of a stage's parameters, in a backward only the last one of a step; null: nobody
  // asks.
  ParameterTraffic* traffic = nullptr;

  // Where a block of the residual stream leaves what it returns; null: in `activations`.
  TensorView result = {};

  // Who looks at what layers compute; null: nobody, as in all runs but for debugging.
  LayerWatch* watch = nullptr;

  // Memory for what a block returns. Precondition: `result` is null or of this dtype and shape.
  absl::StatusOr<TensorView> AllocateResult(DType dtype, std::span<const int64_t> dims) const {
    return result.is_null() ? activations.Allocate(dtype, dims) : result;
  }

  // Where a forward leaves what selective_recompute does not keep. A block that does not keep it
  // opens a scope of the workspace, and leaves null views in its Saved.
  Arena& brief() const { return selective_recompute ? stream.workspace() : activations; }

  // Where a backward makes again what its forward did not keep: products in the queue read it.
  Arena& recomputed() const {
    return weight_gradients == nullptr ? stream.workspace() : activations;
  }

  // Called before a stage runs layer `layer` (ParameterSpec::layer) forward.
  absl::Status BeginLayer(int layer) const {
    if (watch != nullptr) watch->Begin(layer);
    return traffic == nullptr ? absl::OkStatus() : traffic->Needed(layer);
  }

  // Called with what the layer that began last has returned.
  absl::Status LayerReturned(ConstTensorView output) const {
    return watch == nullptr ? absl::OkStatus() : watch->Output(output, stream);
  }

  // Called with the gradient of what `layer` read.
  absl::Status LayerReadGradient(int layer, ConstTensorView gradient) const {
    return watch == nullptr ? absl::OkStatus() : watch->Gradient(layer, gradient, stream);
  }

  // Called when the stage has run `layer` backward, the last of those that have this number.
  absl::Status EndLayer(int layer) const {
    if (traffic == nullptr) return absl::OkStatus();
    if (weight_gradients == nullptr) return traffic->Ready(layer);
    weight_gradients->Add([traffic = traffic, layer](Stream&) { return traffic->Ready(layer); });
    return absl::OkStatus();
  }

  bool counts_statistics() const { return mode == Mode::kTrain; }
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_CONTEXT_H_
