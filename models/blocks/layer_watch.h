#ifndef HETERO_MODELS_BLOCKS_LAYER_WATCH_H_
#define HETERO_MODELS_BLOCKS_LAYER_WATCH_H_

#include "absl/status/status.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"

namespace hetero {

// Told of what the layers of a stage compute, for whoever looks for the place where a number went
// wrong. Layers are ParameterSpec::layer. What is told is on the stream; an error ends the step.
class LayerWatch {
 public:
  virtual ~LayerWatch() = default;

  // The layer whose output comes next.
  virtual void Begin(int layer) = 0;
  virtual absl::Status Output(ConstTensorView output, Stream& stream) = 0;

  // The gradient of what the layer read.
  virtual absl::Status Gradient(int layer, ConstTensorView gradient, Stream& stream) = 0;
};

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_LAYER_WATCH_H_
