#include "hetero/models/testing/gradient_check.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <span>

#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"

namespace hetero {
namespace {

uint64_t SeedOfTest() {
  static const testing::TestInfo* test = nullptr;
  static uint64_t seed = 0;
  const testing::TestInfo* const now = testing::UnitTest::GetInstance()->current_test_info();
  if (now == nullptr) return 0;
  if (now != test) seed = FreshSeed();
  test = now;
  return seed;
}

}  // namespace

void CheckGradients(const std::function<double()>& loss, const std::vector<CheckedTensor>& tensors,
                    const GradientCheckOptions& options) {
  std::mt19937_64 generator = FreshGenerator();
  std::normal_distribution<double> normal;
  for (const CheckedTensor& tensor : tensors) {
    const std::span<double> values = tensor.value.values<double>();
    const std::vector<double> original(values.begin(), values.end());
    const std::span<const double> gradient = tensor.gradient.values<double>();
    const std::vector<double> claimed(gradient.begin(), gradient.end());
    double squares = 0;
    for (double g : claimed) squares += g * g;
    const double typical = std::sqrt(squares / static_cast<double>(claimed.size()));
    for (int d = 0; d < options.directions; ++d) {
      std::vector<double> direction(values.size());
      double length = 0;
      for (double& x : direction) {
        x = normal(generator);
        length += x * x;
      }
      length = std::sqrt(length);
      double expected = 0;
      for (size_t i = 0; i < direction.size(); ++i) {
        direction[i] /= length;
        expected += direction[i] * claimed[i];
      }
      const auto loss_at = [&](double step) {
        for (size_t i = 0; i < values.size(); ++i) values[i] = original[i] + step * direction[i];
        return loss();
      };
      const double slope = (loss_at(options.step) - loss_at(-options.step)) / (2 * options.step);
      std::copy(original.begin(), original.end(), values.begin());
      const double bound = options.tolerance * typical + options.absolute_tolerance;
      if (!(std::abs(slope - expected) <= bound)) {
        ADD_FAILURE() << tensor.name << " direction " << d << ": slope " << slope << ", gradient "
                      << expected << ", bound " << bound;
        break;
      }
    }
  }
}

std::vector<CheckedTensor> CheckedParameters(ParameterStore& store) {
  std::vector<CheckedTensor> tensors;
  for (const auto& parameter : store.parameters()) {
    if (parameter->gradient.is_null()) continue;
    tensors.push_back({parameter->spec->name, parameter->value, parameter->gradient});
  }
  return tensors;
}

void FillRandom(TensorView tensor, uint64_t number, double scale, double mean) {
  const uint64_t of_test = SeedOfTest();
  std::seed_seq seed{of_test, of_test >> 32, number, number >> 32};
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(mean, scale);
  if (tensor.dtype() == DType::kF64) {
    for (double& x : tensor.values<double>()) x = normal(generator);
  } else {
    for (float& x : tensor.values<float>()) x = static_cast<float>(normal(generator));
  }
}

TestContext::TestContext(Mode mode)
    : activations_(Arena::Create({}, MemoryLabel::kActivations, kArenaBytes, memory_).value()),
      workspace_(Arena::Create({}, MemoryLabel::kWorkspace, kArenaBytes, memory_).value()),
      stream_({}, workspace_),
      context_{.stream = stream_, .activations = activations_, .mode = mode} {}

}  // namespace hetero
