// Fits a cubic to points of a known one, with the optimizer alone: no model library, one rank.

#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/status.h"
#include "hetero/grid/grid.h"
#include "hetero/optim/optim.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/table.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"

namespace {

constexpr std::array<float, 4> kTruth = {0.5f, -1.0f, 0.25f, 2.0f};
constexpr int kNumPoints = 33;
constexpr int kNumSteps = 400;

float Evaluate(std::span<const float> coefficients, float x) {
  float y = 0;
  for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) y = y * x + *c;
  return y;
}

// Gradient of the sum over the points of half the squared error; returns that sum.
double Differentiate(std::span<const float> coefficients, std::span<float> gradient) {
  for (float& g : gradient) g = 0;
  double loss = 0;
  for (int i = 0; i < kNumPoints; ++i) {
    const float x = -1 + 2.0f * i / (kNumPoints - 1);
    const float error = Evaluate(coefficients, x) - Evaluate(kTruth, x);
    loss += 0.5 * error * error;
    float power = 1;
    for (float& g : gradient) {
      g += error * power;
      power *= x;
    }
  }
  return loss;
}

absl::StatusOr<double> Fit() {
  const hetero::Device device;
  hetero::MemoryLedger memory;
  HETERO_ASSIGN_OR_RETURN(
      hetero::Arena workspace,
      hetero::Arena::Create(device, hetero::MemoryLabel::kWorkspace, 1 << 16, memory));
  hetero::Stream stream(device, workspace);
  HETERO_ASSIGN_OR_RETURN(const hetero::Grid grid,
                          hetero::Grid::Make({.name = "cubic", .num_ranks = 1}));
  HETERO_ASSIGN_OR_RETURN(
      const hetero::ParameterTable table,
      hetero::ParameterTable::Make({{.name = "coefficients", .shape = {4}, .decay = false}}));
  HETERO_ASSIGN_OR_RETURN(const auto store,
                          hetero::ParameterStore::Create(table, {}, device, memory));
  HETERO_ASSIGN_OR_RETURN(hetero::Parameter* const coefficients, store->Find("coefficients"));

  HETERO_ASSIGN_OR_RETURN(
      const auto module,
      hetero::ModuleOptimizer::Create({.adamw = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8}},
                                      *store, grid, hetero::GlobalRank(0), device, memory));
  HETERO_ASSIGN_OR_RETURN(
      const hetero::LearningRateSchedule schedule,
      hetero::LearningRateSchedule::Make({.style = hetero::LearningRateStyle::kCosine,
                                          .peak = 0.05,
                                          .warmup_samples = 20 * kNumPoints,
                                          .decay_samples = kNumSteps * kNumPoints}));
  HETERO_ASSIGN_OR_RETURN(
      const auto optimizer,
      hetero::Optimizer::Create({.learning_rate = schedule,
                                 .clip_gradient_norm = 1.0,
                                 .modules = {{"cubic", {"coefficients"}}},
                                 .num_addends = 1},
                                {module.get()}, /*control=*/nullptr, stream, memory));

  const double points = kNumPoints;
  double loss = 0;
  for (int step = 0; step < kNumSteps; ++step) {
    const double sum =
        Differentiate(coefficients->value.values<float>(), coefficients->gradient.values<float>());
    coefficients->AccumulateGradient();
    HETERO_RETURN_IF_ERROR(store->FinishGradients(stream));
    HETERO_ASSIGN_OR_RETURN(
        const hetero::StepReport report,
        optimizer->Step({.samples = kNumPoints,
                         .tokens = hetero::ConstTensorView(&points, hetero::DType::kF64, {1}),
                         .addends = hetero::ConstTensorView(&sum, hetero::DType::kF64, {1})}));
    loss = report.sums[0] / report.tokens;
    if (step % 100 == 0) {
      std::printf("step %3d: loss %.3e, gradient norm %.3e, learning rate %.4f\n", step, loss,
                  report.gradient_norm, report.learning_rate);
    }
  }
  std::printf("%s\n", memory.ToString().c_str());
  return loss;
}

}  // namespace

int main() {
  const absl::StatusOr<double> loss = Fit();
  if (!loss.ok()) {
    std::fprintf(stderr, "%s\n", loss.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  std::printf("last loss %.3e\n", *loss);
  return *loss < 1e-6 ? EXIT_SUCCESS : EXIT_FAILURE;
}
