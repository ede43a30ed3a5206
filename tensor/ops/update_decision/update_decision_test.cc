#include "hetero/tensor/ops/update_decision/update_decision.h"

#include <cmath>
#include <limits>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Case {
  double squares[2];
  double non_finite[2];
  double tokens;
  double max_norm;
  double faults = 0;
};

std::vector<double> Decide(const Case& c) {
  const HostTensor<double> statistics(
      {2, 2}, {c.squares[0], c.non_finite[0], c.squares[1], c.non_finite[1]});
  const HostTensor<double> tokens({1}, {c.tokens}), faults({1}, {c.faults});
  HostTensor<double> decisions({kNumUpdateDecisions});
  StreamWithWorkspace stream;
  EXPECT_THAT(DecideUpdate({.statistics_M2 = statistics.view(),
                            .tokens_1 = tokens.view(),
                            .faults_1 = faults.view(),
                            .max_norm = c.max_norm,
                            .decisions = decisions.view()},
                           *stream),
              IsOk());
  return decisions.values();
}

TEST(UpdateDecisionTest, ClipsTheNormOfAllModulesAndDividesByTheTokens) {
  EXPECT_THAT(Decide({{9 * 64, 16 * 64}, {0, 0}, 8, 1}),
              ElementsAre(5, 1 / (5 + 1e-6), 1 / (5 + 1e-6) / 8, 1));
  EXPECT_THAT(Decide({{9 * 64, 16 * 64}, {0, 0}, 8, 10}), ElementsAre(5, 1, 0.125, 1));
  EXPECT_THAT(Decide({{9 * 64, 16 * 64}, {0, 0}, 8, 0}), ElementsAre(5, 1, 0.125, 1));
}

// Weights of all tokens times a number are the same mean.
TEST(UpdateDecisionTest, DividesByLossWeightsBelowOne) {
  EXPECT_THAT(Decide({{9, 16}, {0, 0}, 1, 2}), ElementsAre(5, 2 / (5 + 1e-6), 2 / (5 + 1e-6), 1));
  EXPECT_THAT(Decide({{9.0 / 16, 1}, {0, 0}, 0.25, 2}),
              ElementsAre(5, 2 / (5 + 1e-6), 2 / (5 + 1e-6) / 0.25, 1));
}

TEST(UpdateDecisionTest, AppliesNothingThatCameOfAFault) {
  EXPECT_THAT(Decide({{9, 16}, {0, 0}, 1, 0, 1}), ElementsAre(5, 1, 1, 0));
}

TEST(UpdateDecisionTest, AppliesNothingThatIsNotFiniteOrHasNoTokens) {
  EXPECT_THAT(Decide({{9, 16}, {0, 2}, 1, 0}), ElementsAre(5, 1, 1, 0));
  EXPECT_THAT(Decide({{9, 16}, {0, 0}, 0, 0}), ElementsAre(5, 1, 1, 0));
}

TEST(UpdateDecisionTest, OperandsMustFit) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  HostTensor<double> two({2}), four({kNumUpdateDecisions});
  EXPECT_THAT(DecideUpdate({.statistics_M2 = two.view().Reshape({1, 2}),
                            .tokens_1 = two.view(),
                            .decisions = four.view()},
                           *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tokens is f64[2]")));
}

}  // namespace
}  // namespace hetero
