#include "hetero/tensor/ops/adamw/adamw.h"

#include <cmath>
#include <random>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/matchers.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.95;
constexpr double kEpsilon = 1e-8;

template <typename T>
struct State {
  explicit State(const std::vector<double>& initial)
      : p({static_cast<int64_t>(initial.size())}, {initial.begin(), initial.end()}),
        m({p.view().dim(0)}, std::vector<T>(initial.size())),
        v({p.view().dim(0)}, std::vector<T>(initial.size())),
        rounded(initial.size(), BFloat16(77)) {}

  absl::Status Step(const std::vector<double>& gradient, std::vector<AdamWSegment> segments, int t,
                    double learning_rate, double scale, double apply = 1) {
    HostTensor<T> g({p.view().dim(0)}, {gradient.begin(), gradient.end()});
    const HostTensor<double> decisions({kNumUpdateDecisions}, {NAN, NAN, scale, apply});
    StreamWithWorkspace stream;
    return AdamW({.parameter_N = p.view(),
                  .gradient_N = g.view(),
                  .first_moment_N = m.view(),
                  .second_moment_N = v.view(),
                  .rounded_N = {rounded.data(), DType::kBF16, {p.view().dim(0)}},
                  .segments = segments,
                  .beta1 = kBeta1,
                  .beta2 = kBeta2,
                  .epsilon = kEpsilon,
                  .learning_rate = learning_rate,
                  .first_correction = 1 / (1 - std::pow(kBeta1, t)),
                  .second_correction = 1 / (1 - std::pow(kBeta2, t)),
                  .decisions = decisions.view()},
                 *stream);
  }

  HostTensor<T> p, m, v;
  std::vector<BFloat16> rounded;
};

TEST(AdamWTest, TheFirstStepMovesByTheSignAndTheDecay) {
  State<double> state({1, 1, 1});
  ASSERT_THAT(state.Step({0.5, -0.5, 0.5}, {{0, 2, 0.1}, {2, 1, 0}}, 1, 0.1, 1), IsOk());
  EXPECT_THAT(state.p.values(),
              IsCloseTo(std::vector<double>{0.89, 1.09, 0.9}, {.absolute = 1e-8}));
}

TEST(AdamWTest, TenStepsFollowTheFormulaInBothTypes) {
  std::mt19937_64 random = FreshGenerator();
  std::normal_distribution<double> normal;
  constexpr int64_t kCount = 1037;
  const std::vector<AdamWSegment> segments = {{0, 500, 0.1}, {500, 30, 0}, {576, 461, 0.3}};
  std::vector<double> p(kCount), m(kCount), v(kCount), gradient(kCount);
  for (double& value : p) value = static_cast<float>(normal(random));
  State<double> f64(p);
  State<float> f32(p);
  for (int t = 1; t <= 10; ++t) {
    for (double& value : gradient) value = static_cast<float>(normal(random));
    const double learning_rate = t == 1 ? 0 : 0.01 * t;
    const double scale = 0.25 * t;
    ASSERT_THAT(f64.Step(gradient, segments, t, learning_rate, scale), IsOk());
    ASSERT_THAT(f32.Step(gradient, segments, t, learning_rate, scale), IsOk());
    for (const AdamWSegment& segment : segments) {
      for (int64_t i = segment.begin; i < segment.begin + segment.count; ++i) {
        const double g = gradient[i] * scale;
        m[i] = kBeta1 * m[i] + (1 - kBeta1) * g;
        v[i] = kBeta2 * v[i] + (1 - kBeta2) * g * g;
        const double u = m[i] / (1 - std::pow(kBeta1, t)) /
                         (std::sqrt(v[i] / (1 - std::pow(kBeta2, t))) + kEpsilon);
        p[i] -= learning_rate * (u + segment.weight_decay * p[i]);
      }
    }
  }
  EXPECT_THAT(f64.p.values(), IsCloseTo(p, {.absolute = 1e-12, .relative = 1e-12}));
  EXPECT_THAT(f64.v.values(), IsCloseTo(v, {.relative = 1e-12}));
  EXPECT_THAT(f32.p.values(), IsCloseTo(p, {.absolute = 1e-6, .relative = 1e-6}));
  for (int64_t i = 0; i < kCount; ++i) {
    const bool inside = i < 530 || i >= 576;
    EXPECT_EQ(f32.rounded[i].bits(), BFloat16(inside ? f32.p[i] : 77).bits()) << i;
  }
}

TEST(AdamWTest, ASkippedStepWritesNothing) {
  State<float> state({1, 2});
  ASSERT_THAT(state.Step({NAN, 1}, {{0, 2, 0.1}}, 1, 0.1, 1, /*apply=*/0), IsOk());
  EXPECT_THAT(state.p.values(), testing::ElementsAre(1, 2));
  EXPECT_THAT(state.m.values(), testing::ElementsAre(0, 0));
  EXPECT_THAT(state.v.values(), testing::ElementsAre(0, 0));
  EXPECT_EQ(state.rounded[1].bits(), BFloat16(77).bits());
}

TEST(AdamWTest, RefusesSegmentsOutsideTheRangeAndOtherShapes) {
  State<float> state({1, 2});
  EXPECT_THAT(state.Step({1, 1}, {{0, 3, 0}}, 1, 0.1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("segment [0, 3)")));
  EXPECT_THAT(state.Step({1, 1}, {{0, 2, 0}, {1, 1, 0}}, 1, 0.1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ends at 2")));
  EXPECT_THAT(State<float>({1}).Step({1}, {}, 1, 0.1, 1), IsOk());
}

}  // namespace
}  // namespace hetero
