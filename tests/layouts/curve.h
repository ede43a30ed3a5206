#ifndef HETERO_TESTS_LAYOUTS_CURVE_H_
#define HETERO_TESTS_LAYOUTS_CURVE_H_

// The numbers of a run's steps, to hold one layout against another.

#include <vector>

#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {

struct Curve {
  std::vector<double> loss;
  std::vector<double> gradient_norm;

  bool operator==(const Curve&) const = default;
};

// Trains as `config` says; fails the test unless it has `num_steps` steps.
Curve TrainCurve(const proto::RunConfig& config, int num_steps);

// Fails the test unless losses and gradient norms of every step agree to a relative 1e-5.
void ExpectSameTraining(const Curve& curve, const Curve& expected);

}  // namespace hetero

#endif  // HETERO_TESTS_LAYOUTS_CURVE_H_
