// What the optimizer does to flat ranges of parameters.

#include <cstdint>
#include <memory>
#include <vector>

#include "hetero/tensor/ops/adamw/adamw.h"
#include "hetero/tensor/ops/gradient_statistics/gradient_statistics.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tools/bench/cases.h"

namespace hetero::bench {
namespace {

// `rounds`: the parameters are masters of bf16 ones.
Work AdamWWork(const Sizes& sizes, bool rounds, Operands& operands) {
  const int64_t n = sizes.optimizer_elements;
  const auto segments = std::make_shared<std::vector<AdamWSegment>>(
      1, AdamWSegment{.count = n, .weight_decay = 0.05});
  const std::vector<double> decisions(kNumUpdateDecisions, 1.0);
  const AdamWArgs args = {.parameter_N = operands.Normal(DType::kF32, {n}, 0.02),
                          .gradient_N = operands.Normal(DType::kF32, {n}),
                          .first_moment_N = operands.Empty(DType::kF32, {n}),
                          .second_moment_N = operands.Empty(DType::kF32, {n}),
                          .rounded_N = rounds ? operands.Empty(DType::kBF16, {n}) : TensorView(),
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

// Parameters of all sizes, as many as a model of some layers has.
Work GradientStatisticsWork(const Sizes& sizes, Operands& operands) {
  constexpr int64_t kParameters = 200;
  const int64_t n = sizes.optimizer_elements;
  const auto ranges = std::make_shared<std::vector<StatisticsRange>>();
  for (int64_t begin = 0, p = 0; p < kParameters; ++p) {
    const int64_t end = n * (p + 1) / kParameters * (p + 1) / kParameters;
    ranges->push_back({begin, end - begin, p});
    begin = end;
  }
  const GradientStatisticsArgs args = {.gradient_N = operands.Normal(DType::kF32, {n}),
                                       .ranges = *ranges,
                                       .totals_2 = operands.Empty(DType::kF64, {2}),
                                       .non_finite_P = operands.Empty(DType::kF64, {kParameters})};
  return {.forward = [args, ranges](ModuleContext& context) {
    return GradientStatistics(args, context.stream);
  }};
}

}  // namespace

std::vector<Case> OptimizerCases(const Sizes& sizes) {
  const auto adamw = [=](bool rounds) {
    return [=](Operands& operands) { return AdamWWork(sizes, rounds, operands); };
  };
  return {{"adamw", adamw(true)},
          {"adamw.without_rounding", adamw(false)},
          {"gradient_statistics",
           [=](Operands& operands) { return GradientStatisticsWork(sizes, operands); }}};
}

}  // namespace hetero::bench
