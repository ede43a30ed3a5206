#ifndef HETERO_MODELS_TESTING_GRADIENT_CHECK_H_
#define HETERO_MODELS_TESTING_GRADIENT_CHECK_H_

// Gradients of whole modules against central differences in f64, along random directions.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "hetero/models/blocks/context.h"
#include "hetero/params/parameter_store.h"
#include "hetero/tensor/view.h"

namespace hetero {

// f64 on the host. `gradient` is what backward claims d loss / d value to be.
struct CheckedTensor {
  std::string name;
  TensorView value;
  ConstTensorView gradient;
};

struct GradientCheckOptions {
  int directions = 64;  // per tensor
  double step = 1e-5;   // length of the move along a unit direction
  // Of the difference, relative to the gradient's norm over sqrt(elements), the typical slope.
  double tolerance = 1e-5;
  double absolute_tolerance = 1e-9;
};

// `loss` computes the loss from the values as they are. Adds a test failure naming tensor and
// direction for every slope that differs.
void CheckGradients(const std::function<double()>& loss, const std::vector<CheckedTensor>& tensors,
                    const GradientCheckOptions& options = {});

// The trainable parameters of `store`.
std::vector<CheckedTensor> CheckedParameters(ParameterStore& store);

// Standard normal values of `scale` around `mean`: parameters of a test are random everywhere,
// since ones and zeros hide errors. In one test a `number` has the same values, in another run
// others (fresh_random.h); outside of tests it always has the same.
void FillRandom(TensorView tensor, uint64_t number, double scale, double mean = 0);

// A context on the CPU with arenas large enough for tests, and what it refers to.
class TestContext {
 public:
  explicit TestContext(Mode mode = Mode::kTrain);

  ModuleContext& operator*() { return context_; }
  ModuleContext* operator->() { return &context_; }

  // Frees the activations of earlier forwards.
  void Reset() { activations_.Release(0); }

 private:
  static constexpr int64_t kArenaBytes = int64_t{64} << 20;

  MemoryLedger memory_;
  Arena activations_;
  Arena workspace_;
  Stream stream_;
  ModuleContext context_;
};

}  // namespace hetero

#endif  // HETERO_MODELS_TESTING_GRADIENT_CHECK_H_
