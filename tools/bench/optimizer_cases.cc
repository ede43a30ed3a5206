// What the optimizer does to flat ranges of parameters.

#include <cstdint>
#include <memory>
#include <vector>

#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

Work AdamWWork(const Sizes& sizes, Operands& operands) {
  const int64_t n = sizes.optimizer_elements;
  const auto segments = std::make_shared<std::vector<AdamWSegment>>(
      1, AdamWSegment{.count = n, .weight_decay = 0.05});
  const std::vector<double> decisions(kNumUpdateDecisions, 1.0);
  const AdamWArgs args = {.parameter_N = operands.Normal(DType::kF32, {n}, 0.02),
                          .gradient_N = operands.Normal(DType::kF32, {n}),
                          .first_moment_N = operands.Empty(DType::kF32, {n}),
                          .second_moment_N = operands.Empty(DType::kF32, {n}),
                          .rounded_N = operands.storage() == DType::kBF16
                                           ? operands.Empty(DType::kBF16, {n})
                                           : TensorView(),
                          .segments = *segments,
                          .beta1 = 0.9,
                          .beta2 = 0.95,
                          .epsilon = 1e-8,
                          .learning_rate = 1e-4,
                          .first_correction = 1,
                          .second_correction = 1,
                          .decisions = operands.Values(DType::kF64, decisions)};
  return {
      .forward = [args, segments](ModuleContext& context) { return AdamW(args, context.stream); }};
}

Work GradientNormWork(const Sizes& sizes, Operands& operands) {
  const TensorView gradients = operands.Normal(DType::kF32, {sizes.optimizer_elements});
  const TensorView totals = operands.Empty(DType::kF64, {2});
  return {.forward = [=](ModuleContext& context) {
    return SumOfSquares(gradients, totals, false, context.stream);
  }};
}

}  // namespace

std::vector<Case> OptimizerCases(const Sizes& sizes) {
  return {
      {"adamw", [=](Operands& operands) { return AdamWWork(sizes, operands); }},
      {"sum_of_squares", [=](Operands& operands) { return GradientNormWork(sizes, operands); }}};
}

}  // namespace hetero::bench
