#ifndef HETERO_TRAINER_STEP_STEP_WATCH_H_
#define HETERO_TRAINER_STEP_STEP_WATCH_H_

#include "absl/status/status.h"
#include "hetero/models/blocks/layer_watch.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

// Told of the forwards and backwards of a rank's steps, and of the layers in them.
class StepWatch : public LayerWatch {
 public:
  // Whether the step in work is looked at; else nothing is told of it.
  virtual bool Looks() const = 0;

  // Around an operation that computes. `stage`: its own; `output`: of a forward, null at a sink.
  virtual void Before(const Op& op) = 0;
  virtual absl::Status After(const Op& op, Stage& stage, ConstTensorView output,
                             Stream& stream) = 0;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_STEP_WATCH_H_
