#include "hetero/tensor/ops/update_decision/update_decision.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

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

constexpr double kEpsilon = 1e-6;

struct Module {
  double squares = 0;
  double participants = 0;
  double clip_share = 0;
  double ranks = 0;
};

struct Step {
  std::vector<Module> modules;
  double tokens = 1;
  double max_norm = 0;
  double faults = 0;
  std::vector<double> non_finite = {0, 0, 0};
};

// A row of decisions for each module.
std::vector<std::vector<double>> Decide(const Step& step) {
  const auto num_modules = static_cast<int64_t>(step.modules.size());
  const auto num_parameters = static_cast<int64_t>(step.non_finite.size());
  std::vector<double> statistics, rules;
  for (const Module& module : step.modules) {
    constexpr double kZeros = 1e9;
    statistics.insert(statistics.end(), {module.squares, kZeros, module.participants});
    rules.insert(rules.end(), {module.clip_share, module.ranks});
  }
  const HostTensor<double> statistics_MS({num_modules, kNumModuleStatistics}, statistics);
  const HostTensor<double> rules_M2({num_modules, kNumModuleRules}, rules);
  const HostTensor<double> non_finite({num_parameters}, step.non_finite);
  const HostTensor<double> tokens({1}, {step.tokens}), faults({1}, {step.faults});
  HostTensor<double> decisions({num_modules, kNumUpdateDecisions});
  StreamWithWorkspace stream;
  EXPECT_THAT(DecideUpdate({.statistics_MS = statistics_MS.view(),
                            .non_finite_P = non_finite.view(),
                            .tokens_1 = tokens.view(),
                            .faults_1 = faults.view(),
                            .rules_M2 = rules_M2.view(),
                            .max_norm = step.max_norm,
                            .decisions_MD = decisions.view()},
                           *stream),
              IsOk());
  std::vector<std::vector<double>> rows;
  for (auto row = decisions.values().begin(); row != decisions.values().end();
       row += kNumUpdateDecisions) {
    rows.emplace_back(row, row + kNumUpdateDecisions);
  }
  return rows;
}

TEST(UpdateDecisionTest, ModulesWithoutAShareAreClippedByTheNormOfAll) {
  const double clip = 1 / (5 + kEpsilon);
  EXPECT_THAT(
      Decide({.modules = {{.squares = 9 * 64}, {.squares = 16 * 64}}, .tokens = 8, .max_norm = 1}),
      ElementsAre(ElementsAre(5, clip, clip / 8, 1), ElementsAre(5, clip, clip / 8, 1)));
  for (const double max_norm : {10.0, 0.0}) {
    EXPECT_THAT(Decide({.modules = {{.squares = 9 * 64}, {.squares = 16 * 64}},
                        .tokens = 8,
                        .max_norm = max_norm}),
                ElementsAre(ElementsAre(5, 1, 0.125, 1), ElementsAre(5, 1, 0.125, 1)));
  }
}

// Weights of all tokens times a number are the same mean.
TEST(UpdateDecisionTest, DividesByLossWeightsBelowOne) {
  const double clip = 2 / (5 + kEpsilon);
  EXPECT_THAT(Decide({.modules = {{.squares = 25}}, .tokens = 1, .max_norm = 2}),
              ElementsAre(ElementsAre(5, clip, clip, 1)));
  EXPECT_THAT(Decide({.modules = {{.squares = 25.0 / 16}}, .tokens = 0.25, .max_norm = 2}),
              ElementsAre(ElementsAre(5, clip, clip / 0.25, 1)));
}

// Four of eight ranks: the sum over them stands for twice as much.
TEST(UpdateDecisionTest, RanksThatTookNoPartAreCorrectedFor) {
  const Module half = {.squares = 16, .participants = 4, .ranks = 8};
  EXPECT_THAT(Decide({.modules = {half}, .tokens = 2}), ElementsAre(ElementsAre(4, 1, 1, 1)));
  const double clip = 1 / (4 + kEpsilon);
  EXPECT_THAT(Decide({.modules = {half}, .tokens = 2, .max_norm = 1}),
              ElementsAre(ElementsAre(4, clip, clip, 1)));
  // Its corrected norm, 2 * 4 / 2, counts in the norm of all; 3 is the other's.
  EXPECT_THAT(Decide({.modules = {half, {.squares = 36}}, .tokens = 2}),
              ElementsAre(ElementsAre(5, 1, 1, 1), ElementsAre(5, 1, 0.5, 1)));
  for (const double participants : {0.0, 8.0, 9.0}) {
    Module whole = half;
    whole.participants = participants;
    EXPECT_THAT(Decide({.modules = {whole}, .tokens = 2}), ElementsAre(ElementsAre(2, 1, 0.5, 1)));
  }
  Module uncorrected = half;
  uncorrected.ranks = 0;
  EXPECT_THAT(Decide({.modules = {uncorrected}, .tokens = 2}),
              ElementsAre(ElementsAre(2, 1, 0.5, 1)));
}

TEST(UpdateDecisionTest, AModuleWithAShareIsClippedAlone) {
  const double together = 1 / (5 + kEpsilon), alone = 0.5 / (20 + kEpsilon);
  EXPECT_THAT(
      Decide({.modules = {{.squares = 9},
                          {.squares = 100, .participants = 1, .clip_share = 0.5, .ranks = 2},
                          {.squares = 16}},
              .max_norm = 1}),
      ElementsAre(ElementsAre(5, together, together, 1), ElementsAre(20, alone, 2 * alone, 1),
                  ElementsAre(5, together, together, 1)));
  // Below its limit, above that of the others; and without clipping.
  EXPECT_THAT(Decide({.modules = {{.squares = 4, .clip_share = 3}, {.squares = 0}}, .max_norm = 1}),
              ElementsAre(ElementsAre(2, 1, 1, 1), ElementsAre(0, 1, 1, 1)));
  EXPECT_THAT(Decide({.modules = {{.squares = 4, .clip_share = 0.5}}}),
              ElementsAre(ElementsAre(2, 1, 1, 1)));
}

TEST(UpdateDecisionTest, AppliesNothingThatCameOfAFault) {
  EXPECT_THAT(Decide({.modules = {{.squares = 9}, {.squares = 16}}, .faults = 1}),
              ElementsAre(ElementsAre(5, 1, 1, 0), ElementsAre(5, 1, 1, 0)));
}

TEST(UpdateDecisionTest, AppliesNothingThatHasNoTokens) {
  for (const double tokens : {0.0, std::nan("")}) {
    EXPECT_THAT(Decide({.modules = {{.squares = 25}}, .tokens = tokens}),
                ElementsAre(ElementsAre(5, 1, 1, 0)));
  }
}

TEST(UpdateDecisionTest, OneElementThatIsNotFiniteStopsAllModules) {
  EXPECT_THAT(Decide({.modules = {{.squares = 9}, {.squares = 16}}, .non_finite = {0, 0, 2}}),
              ElementsAre(ElementsAre(5, 1, 1, 0), ElementsAre(5, 1, 1, 0)));
  // Squares of f64 may overflow where no element is infinite.
  for (const double squares : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    for (const double share : {0.0, 1.0}) {
      const auto rows = Decide({.modules = {{.squares = squares, .clip_share = share}, {}}});
      EXPECT_EQ(rows[0][kUpdateApply], 0);
      EXPECT_EQ(rows[1][kUpdateApply], 0);
    }
  }
}

TEST(UpdateDecisionTest, OperandsMustFit) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  HostTensor<double> one({1}), two({2}), statistics({2, kNumModuleStatistics}),
      rules({2, kNumModuleRules}), decisions({2, kNumUpdateDecisions});
  const UpdateDecisionArgs fits = {.statistics_MS = statistics.view(),
                                   .non_finite_P = two.view(),
                                   .tokens_1 = one.view(),
                                   .faults_1 = one.view(),
                                   .rules_M2 = rules.view(),
                                   .decisions_MD = decisions.view()};
  EXPECT_THAT(DecideUpdate(fits, *stream), IsOk());
  const auto refused = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text));
  };
  UpdateDecisionArgs args = fits;
  args.statistics_MS = rules.view();
  EXPECT_THAT(DecideUpdate(args, *stream), refused("statistics is f64[2,2]; expected [*,3]"));
  args = fits;
  args.non_finite_P = {};
  EXPECT_THAT(DecideUpdate(args, *stream), refused("non-finite is"));
  args = fits;
  args.tokens_1 = two.view();
  EXPECT_THAT(DecideUpdate(args, *stream), refused("tokens is f64[2]"));
  args = fits;
  args.faults_1 = two.view();
  EXPECT_THAT(DecideUpdate(args, *stream), refused("faults is f64[2]"));
  args = fits;
  args.rules_M2 = rules.view().Rows(0, 1);
  EXPECT_THAT(DecideUpdate(args, *stream), refused("rules is f64[1,2]; expected [2,2]"));
  args = fits;
  args.decisions_MD = decisions.view().Rows(0, 1);
  EXPECT_THAT(DecideUpdate(args, *stream), refused("decisions is f64[1,4]; expected [2,4]"));
}

}  // namespace
}  // namespace hetero
