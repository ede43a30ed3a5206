#include "hetero/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/optim/testing/rank_rig.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr AdamWOptions kAdamW = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0};

LearningRateSchedule Linear() {
  return LearningRateSchedule::Make(
             {.style = LearningRateStyle::kLinear, .peak = 0.1, .decay_samples = 100})
      .value();
}

// A module of one rank of its own.
RankRig Module(const std::string& name, std::vector<ParameterSpec> specs,
               const ModuleOptimizerOptions& options = {.adamw = kAdamW}) {
  return RankRig(ParameterTable::Make(std::move(specs)).value(), MakeGrid({.num_ranks = 1}, name),
                 GlobalRank(0), {.optimizer = options});
}

OptimizerOptions OfRun(double clip, std::vector<OptimizedModule> modules = {},
                       int64_t num_addends = 0) {
  return {.learning_rate = Linear(),
          .clip_gradient_norm = clip,
          .modules = std::move(modules),
          .num_addends = num_addends};
}

// Rank 0 has "vision", rank 1 "language".
absl::Status RunTwoModules(double clip, int64_t num_addends,
                           absl::FunctionRef<absl::Status(bool first, RankRig& module)> body) {
  return RunRanks(2, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    const bool first = rank == GlobalRank(0);
    RankRig module = Module(first ? "vision" : "language", {{.name = "w", .shape = {2, 2}}});
    HETERO_ASSIGN_OR_RETURN(auto control,
                            factory.Create({"control", {GlobalRank(0), GlobalRank(1)}}));
    module.MakeOptimizer(OfRun(clip, {{"language", {"w"}}, {"vision", {"w"}}}, num_addends),
                         control.get());
    return body(first, module);
  });
}

TEST(OptimizerTest, OneNormAndOneClipFactorOverAllModules) {
  std::vector<StepReport> reports(2);
  EXPECT_THAT(RunTwoModules(
                  1.0, 2,
                  [&](bool first, RankRig& module) -> absl::Status {
                    module.gradient("w")[0] = first ? 4.0f * 8 : -3.0f * 8;
                    const HostTensor<double> addends({2}, {first ? 0 : 20.5, 1});
                    HETERO_ASSIGN_OR_RETURN(reports[first ? 0 : 1],
                                            module.optimizer->Step({.samples = 4,
                                                                    .tokens = Tokens(first ? 0 : 8),
                                                                    .addends = addends.view()}));
                    const float moment = module.module->moments()[0].first.values<float>()[0];
                    const double expected = (1 - 0.9) * (first ? 4.0 : -3.0) * 0.2;
                    return std::abs(moment - expected) < 1e-6 ? absl::OkStatus()
                                                              : absl::InternalError("moment");
                  }),
              IsOk());
  for (const StepReport& report : reports) {
    EXPECT_EQ(report.outcome, StepOutcome::kApplied);
    EXPECT_DOUBLE_EQ(report.gradient_norm, 5);
    EXPECT_THAT(report.module_norms, ElementsAre(3, 4));
    EXPECT_NEAR(report.clip_factor, 0.2, 1e-6);
    EXPECT_EQ(report.tokens, 8);
    EXPECT_EQ(report.zero_gradients, 6);
    EXPECT_THAT(report.sums, ElementsAre(20.5, 2));
  }
  EXPECT_EQ(reports[0].clip_factor, reports[1].clip_factor);
}

TEST(OptimizerTest, ANonFiniteGradientOfOneRankSkipsTheStepOnAll) {
  EXPECT_THAT(
      RunTwoModules(
          1.0, 0,
          [&](bool first, RankRig& module) -> absl::Status {
            const StepInputs inputs{.samples = 10, .tokens = Tokens(1)};
            std::ranges::fill(module.gradient("w"), 1.0f);
            HETERO_RETURN_IF_ERROR(module.optimizer->Step(inputs).status());
            const std::vector<float> before(module.values("w").begin(), module.values("w").end());
            const OptimizerProgress progress = module.optimizer->progress();
            if (first) module.gradient("w")[3] = std::numeric_limits<float>::infinity();
            HETERO_ASSIGN_OR_RETURN(StepReport report, module.optimizer->Step(inputs));
            OptimizerProgress expected = progress;
            expected.skipped_non_finite = 1;
            const bool kept = std::ranges::equal(module.values("w"), before) &&
                              module.optimizer->progress() == expected &&
                              report.outcome == StepOutcome::kNonFinite &&
                              report.non_finite_gradients == 1 &&
                              report.non_finite_parameter == "vision w";
            if (!kept) return absl::InternalError("a skipped step changed something");
            if (!std::isnan(report.gradient_norm) || !std::isnan(report.module_norms[1]) ||
                report.module_norms[0] != 1) {
              return absl::InternalError("the norm of gradients that are not finite is a number");
            }

            std::ranges::fill(module.gradient("w"), 1.0f);
            HETERO_ASSIGN_OR_RETURN(report, module.optimizer->Step(inputs));
            return report.learning_rate == Linear().At(10) && report.non_finite_parameter.empty() &&
                           module.optimizer->progress().applied_steps == 2
                       ? absl::OkStatus()
                       : absl::InternalError("the skipped step advanced the schedule");
          }),
      IsOk());
}

TEST(OptimizerTest, AModuleWithAShareIsClippedAlone) {
  const auto alone = [](const std::string& name, double share) {
    return Module(
        name, {{.name = "w", .shape = {1}}},
        {.adamw = kAdamW, .learning_rate_scale = share > 0 ? 0.5 : 1, .clip_share = share});
  };
  RankRig vision = alone("vision", 0.5), language = alone("language", 0);
  const auto optimizer =
      Optimizer::Create(OfRun(2.0, {vision.Description(), language.Description()}),
                        {vision.module.get(), language.module.get()}, nullptr, *language.stream,
                        language.memory)
          .value();
  vision.gradient("w")[0] = 100;
  language.gradient("w")[0] = 1;
  const StepReport report = optimizer->Step({.samples = 1, .tokens = Tokens(1)}).value();
  EXPECT_NEAR(report.clip_factor, 0.01, 1e-9);
  EXPECT_NEAR(vision.module->moments()[0].first.values<float>()[0], 0.1, 1e-6);
  EXPECT_NEAR(language.module->moments()[0].first.values<float>()[0], 0.1, 1e-6);
  // The first update is as large as the learning rate, here with the module's scale.
  EXPECT_NEAR(vision.values("w")[0], -0.05, 1e-6);
  EXPECT_NEAR(language.values("w")[0], -0.1, 1e-6);
}

// Two of four ranks of an encoder had images.
TEST(OptimizerTest, PartOfTheRanksCountsForAllWhereThatIsCorrected) {
  for (const int64_t corrected_ranks : {0, 4}) {
    EXPECT_THAT(
        RunRanks(4,
                 [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                   Group world;
                   for (int64_t r = 0; r < 4; ++r) world.push_back(GlobalRank(r));
                   HETERO_ASSIGN_OR_RETURN(auto control, factory.Create({"control", world}));
                   RankRig rig(ParameterTable::Make({{.name = "w", .shape = {3}}}).value(),
                               MakeGrid({.num_ranks = 4}, "vision"), rank,
                               {.optimizer = {.adamw = kAdamW}}, &factory);
                   OptimizedModule module = rig.Description();
                   module.corrected_ranks = corrected_ranks;
                   rig.MakeOptimizer(OfRun(0, {module}), control.get());
                   const bool took_part = rank.value() % 2 == 1;
                   if (took_part) rig.gradient("w")[0] = 3;
                   HETERO_RETURN_IF_ERROR(rig.traffic->Reduce());
                   const double participants[] = {took_part ? 1.0 : 0.0};
                   HETERO_ASSIGN_OR_RETURN(
                       const StepReport report,
                       rig.optimizer->Step({.samples = 1,
                                            .participants = participants,
                                            .tokens = Tokens(rank == GlobalRank(0) ? 2 : 0)}));
                   const double expected = corrected_ranks > 0 ? 6 : 3;
                   return report.gradient_norm == expected
                              ? absl::OkStatus()
                              : absl::InternalError(absl::StrCat("norm ", report.gradient_norm));
                 }),
        IsOk());
  }
}

TEST(OptimizerTest, DecayOfTheScheduleIsThatOfConsumedSamples) {
  RankRig module =
      Module("language", {{.name = "w", .shape = {2}}},
             {.adamw = {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 7},
              .scheduled_weight_decay = true});
  OptimizerOptions options = OfRun(0);
  options.learning_rate = LearningRateSchedule::Make({.peak = 0.5, .decay_samples = 1}).value();
  options.weight_decay =
      WeightDecaySchedule::Make(
          {.style = WeightDecayStyle::kLinear, .start = 0, .end = 1, .samples = 100})
          .value();
  module.MakeOptimizer(std::move(options));
  std::ranges::fill(module.values("w"), 1.0f);
  std::ranges::fill(module.gradient("w"), 0.0f);
  for (const float expected : {1.0f, 1 - 0.5f * 0.4f}) {
    ASSERT_THAT(module.optimizer->Step({.samples = 40, .tokens = Tokens(1)}), IsOk());
    EXPECT_FLOAT_EQ(module.values("w")[1], expected);
  }
}

// Reports asked for a step late change nothing: the second step knows that the first was skipped.
TEST(OptimizerTest, AStepIsQueuedBeforeTheLastOneIsReported) {
  RankRig module = Module("language", {{.name = "w", .shape = {2}}});
  module.MakeOptimizer(OfRun(0));
  std::ranges::fill(module.gradient("w"), 1.0f);
  ASSERT_THAT(module.optimizer->Queue({.samples = 10, .tokens = Tokens(0)}), IsOk());
  for (const double learning_rate : {Linear().At(0), Linear().At(10)}) {
    ASSERT_THAT(module.optimizer->Queue({.samples = 10, .tokens = Tokens(1)}), IsOk());
    const StepReport late = module.optimizer->Report().value();
    EXPECT_EQ(late.outcome == StepOutcome::kNoTokens, late.tokens == 0);
    EXPECT_EQ(module.optimizer->progress().applied_steps, late.tokens);
    EXPECT_EQ(late.learning_rate, Linear().At(0));
    EXPECT_EQ(Linear().At(module.optimizer->progress().consumed_samples), learning_rate);
  }
  EXPECT_EQ(module.optimizer->Report()->learning_rate, Linear().At(10));
  EXPECT_EQ(
      module.optimizer->progress(),
      (OptimizerProgress{.applied_steps = 2, .consumed_samples = 20, .skipped_no_tokens = 1}));
}

// Updates below half a unit in the last place of bf16 add up in the master until they are seen.
TEST(OptimizerTest, ParametersStoredInBf16FollowTheirF32Masters) {
  RankRig wide = Module("language", {{.name = "w", .shape = {3}}});
  RankRig narrow = Module("language", {{.name = "w", .shape = {3}, .storage = DType::kBF16}});
  const std::vector<float> initial = {100, 1.5f, -0.25f};
  std::ranges::copy(initial, wide.values("w").begin());
  const std::span<BFloat16> stored = narrow.store->Find("w").value()->value.values<BFloat16>();
  std::ranges::transform(initial, stored.begin(), [](float value) { return BFloat16(value); });
  ASSERT_THAT(narrow.module->LoadMasters(*narrow.stream), IsOk());
  for (RankRig* module : {&wide, &narrow}) module->MakeOptimizer(OfRun(0));
  for (int step = 0; step < 8; ++step) {
    for (RankRig* module : {&wide, &narrow}) {
      std::ranges::copy(std::vector<float>{1, -2, 3}, module->gradient("w").begin());
      ASSERT_THAT(module->optimizer->Step({.samples = 1, .tokens = Tokens(1)}), IsOk());
    }
    for (size_t i = 0; i < initial.size(); ++i) {
      EXPECT_EQ(stored[i].bits(), BFloat16(wide.values("w")[i]).bits());
    }
  }
  EXPECT_EQ(static_cast<float>(stored[0]), 99);
}

TEST(OptimizerTest, AStepWithoutTokensIsSkippedAndCounted) {
  RankRig module = Module("language", {{.name = "w", .shape = {2}}});
  module.MakeOptimizer(OfRun(0));
  std::ranges::fill(module.gradient("w"), 1.0f);
  const StepReport report = module.optimizer->Step({.samples = 4, .tokens = Tokens(0)}).value();
  EXPECT_EQ(report.outcome, StepOutcome::kNoTokens);
  EXPECT_THAT(module.values("w"), Each(0));
  EXPECT_EQ(module.optimizer->progress(), (OptimizerProgress{.skipped_no_tokens = 1}));
}

TEST(OptimizerTest, AFaultSkipsTheStepAndSaysSo) {
  RankRig module = Module("language", {{.name = "w", .shape = {2}}});
  module.MakeOptimizer(OfRun(0));
  std::ranges::fill(module.gradient("w"), 1.0f);
  const HostTensor<double> faults({1}, {3});
  const StepReport report =
      module.optimizer->Step({.samples = 4, .tokens = Tokens(4), .faults = faults.view()}).value();
  EXPECT_EQ(report.outcome, StepOutcome::kFaulty);
  EXPECT_THAT(module.values("w"), Each(0));
  EXPECT_EQ(module.optimizer->progress(), (OptimizerProgress{.skipped_faulty = 1}));
}

TEST(OptimizerTest, TheMeanOverTokensIsInTheUpdateAndClippingCanBeOff) {
  RankRig module = Module("language", {{.name = "w", .shape = {3}}});
  module.MakeOptimizer(OfRun(0));
  const std::vector<float> gradient = {40, -8, 0};
  std::ranges::copy(gradient, module.gradient("w").begin());
  const StepReport report = module.optimizer->Step({.samples = 4, .tokens = Tokens(4)}).value();
  EXPECT_DOUBLE_EQ(report.gradient_norm, std::sqrt(1600.0 + 64.0) / 4);
  EXPECT_EQ(report.clip_factor, 1);
  EXPECT_THAT(module.module->moments()[0].first.values<float>().subspan(0, 3),
              IsCloseTo(std::vector<double>{1, -0.2, 0}, {.relative = 4 * Epsilon<float>()}));
  EXPECT_THAT(module.module->moments()[0].second.values<float>().subspan(0, 3),
              IsCloseTo(std::vector<double>{1, 0.04, 0}, {.relative = 8 * Epsilon<float>()}));
  EXPECT_THAT(module.gradient("w"), testing::ElementsAreArray(gradient));  // no pass of its own
}

TEST(OptimizerTest, OnlyWhatItsSpecDecaysShrinks) {
  AdamWOptions options = kAdamW;
  options.weight_decay = 0.5;
  RankRig module =
      Module("language",
             {{.name = "norm", .shape = {4}, .decay = false},
              {.name = "conv", .shape = {4, 3}},
              {.name = "conv.bias", .shape = {4}, .decay = false},
              {.name = "embedding", .shape = {6, 2}},
              {.name = "head", .shape = {6, 2}},
              {.name = "experts", .shape = {2, 3, 2}, .gradient_group = GradientGroup::kExpert}},
             {.adamw = options});
  module.MakeOptimizer(OfRun(1.0));
  for (const auto& parameter : module.store->parameters()) {
    std::ranges::fill(parameter->value.values<float>(), 1.0f);
  }
  ASSERT_THAT(module.optimizer->Step({.samples = 1, .tokens = Tokens(1)}), IsOk());
  EXPECT_THAT(module.values("norm"), Each(1.0f));
  EXPECT_THAT(module.values("conv.bias"), Each(1.0f));
  for (const std::string_view name : {"conv", "embedding", "head", "experts"}) {
    EXPECT_THAT(module.values(name), Each(testing::FloatEq(0.95f))) << name;
  }
}

TEST(OptimizerTest, AFrozenModuleHasNoStateAndAddsNothingToTheNorm) {
  RankRig vision = Module("vision", {{.name = "patch", .shape = {2, 2}, .trainable = false}});
  RankRig language = Module("language", {{.name = "w", .shape = {1}}});
  EXPECT_TRUE(vision.module->frozen());
  EXPECT_EQ(vision.memory.bytes(MemoryLabel::kOptimizer), 0);
  EXPECT_TRUE(vision.module->States().empty());
  const auto optimizer = Optimizer::Create(OfRun(0, {vision.Description(), language.Description()}),
                                           {vision.module.get(), language.module.get()}, nullptr,
                                           *language.stream, language.memory)
                             .value();
  language.gradient("w")[0] = 3;
  const StepReport report = optimizer->Step({.samples = 1, .tokens = Tokens(1)}).value();
  EXPECT_THAT(report.module_norms, ElementsAre(0, 3));
  EXPECT_THAT(vision.values("patch"), Each(0));
  EXPECT_LT(language.values("w")[0], 0);
}

TEST(OptimizerTest, AShapeOnlyStepRecordsWhatARealOneDoes) {
  RankRig module(ParameterTable::Make({{.name = "w", .shape = {100}}}).value(),
                 MakeGrid({.num_ranks = 1}), GlobalRank(0), {.optimizer = {.adamw = kAdamW}},
                 nullptr, DeviceKind::kShapeOnly);
  module.MakeOptimizer(OfRun(1));
  ASSERT_THAT(module.optimizer->Step({.samples = 1, .tokens = Tokens(1)}), IsOk());
  const auto& operations = module.stream->ledger().operations();
  EXPECT_EQ(operations.at("adamw").calls, 1);
  EXPECT_EQ(operations.at("gradient_statistics").calls, 1);
  EXPECT_EQ(module.optimizer->progress(), OptimizerProgress());
}

TEST(OptimizerTest, RefusesUnknownModulesAndOtherInputs) {
  RankRig module = Module("language", {{.name = "w", .shape = {1}}});
  const auto make = [&](double clip, std::vector<OptimizedModule> modules) {
    return Optimizer::Create(OfRun(clip, std::move(modules)), {module.module.get()}, nullptr,
                             *module.stream, module.memory);
  };
  EXPECT_THAT(make(1, {{"vision", {}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("module language is not among those of the run: vision")));
  EXPECT_THAT(make(1, {{"language", {"v"}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("parameter w is not among those of module language")));
  EXPECT_THAT(make(NAN, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("clip_gradient_norm is nan")));
  module.MakeOptimizer(OfRun(1, {}, 2));
  EXPECT_THAT(module.optimizer->Step({.samples = 1, .tokens = Tokens(1)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("addends")));
  module.MakeOptimizer(OfRun(1));
  const double two[] = {1, 1};
  EXPECT_THAT(module.optimizer->Step({.samples = 1, .participants = two, .tokens = Tokens(1)}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("participants are told of 2 modules")));
}

}  // namespace
}  // namespace hetero
