#ifndef HETERO_MODELS_BLOCKS_FLOPS_H_
#define HETERO_MODELS_BLOCKS_FLOPS_H_

// Floating-point operations by definition, the same in every layout and for every kernel: products
// with parameters and of activations with each other. Norms, activation functions, softmax and what
// is computed twice are not in it.

namespace hetero {

struct Flops {
  double forward = 0;
  double training = 0;  // forward, and the backward that follows it

  Flops& operator+=(const Flops& other) {
    forward += other.forward;
    training += other.training;
    return *this;
  }
  bool operator==(const Flops&) const = default;
};

// What a backward pass computes of a layer.
struct WantedGradients {
  bool inputs = false;
  bool parameters = false;
};

// Each gradient of a product with parameters is a product of the same size.
constexpr Flops OfParameterProducts(double forward, WantedGradients wanted) {
  return {forward, forward * (1 + wanted.inputs + wanted.parameters)};
}

// Both factors depend on inputs and parameters, so that backward has two products of the same size
// or none.
constexpr Flops OfActivationProducts(double forward, WantedGradients wanted) {
  return {forward, forward * (wanted.inputs || wanted.parameters ? 3 : 1)};
}

}  // namespace hetero

#endif  // HETERO_MODELS_BLOCKS_FLOPS_H_
