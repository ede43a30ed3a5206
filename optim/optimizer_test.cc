#include "hetero/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/grid/axis.h"
#include "hetero/optim/gradient_sync.h"
#include "hetero/optim/module_optimizer.h"
#include "hetero/optim/module_options.h"
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

// One module with its store and optimizer on this rank.
struct Module {
  Module(const std::string& name, std::vector<ParameterSpec> specs, int64_t num_ranks = 1,
         int64_t rank = 0, const AdamWOptions& options = kAdamW)
      : grid(Grid::Make({.name = name, .num_ranks = num_ranks}).value()),
        store(ParameterStore::Create(ParameterTable::Make(std::move(specs)).value(), {}, Device{},
                                     memory)
                  .value()),
        optimizer(ModuleOptimizer::Create(options, *store, grid, GlobalRank(rank), Device{}, memory)
                      .value()) {}

  std::span<float> values(std::string_view name) {
    return store->Find(name).value()->value.values<float>();
  }
  std::span<float> gradient(std::string_view name) {
    return store->Find(name).value()->gradient.values<float>();
  }

  MemoryLedger memory;
  Grid grid;
  std::unique_ptr<ParameterStore> store;
  std::unique_ptr<ModuleOptimizer> optimizer;
};

// Of one step: read while it is queued.
ConstTensorView Tokens(double count) {
  thread_local double tokens;
  tokens = count;
  return {&tokens, DType::kF64, {1}};
}

std::unique_ptr<Optimizer> Alone(Module& module, double clip, int64_t num_addends = 0) {
  return Optimizer::Create(Linear(), clip, {module.grid.name()}, {module.optimizer.get()}, nullptr,
                           num_addends, Device{}, module.memory)
      .value();
}

// Every element of the whole model is counted by exactly one rank.
TEST(StatisticsTest, PiecesCoverEachParameterOnceInEveryLayout) {
  const ParameterTable table =
      ParameterTable::Make({{.name = "embedding", .shape = {16, 5}, .dims = {{ShardAxis::kTp}, {}}},
                            {.name = "norm", .shape = {7}},
                            {.name = "qkv", .shape = {8, 3}, .dims = {{ShardAxis::kTp}, {}}},
                            {.name = "experts",
                             .shape = {4, 8, 3},
                             .dims = {{ShardAxis::kEp}, {ShardAxis::kExptTp}, {}},
                             .gradient_group = GradientGroup::kExpert},
                            {.name = "expert_norm",
                             .shape = {4, 5},
                             .dims = {{ShardAxis::kEp}, {}},
                             .gradient_group = GradientGroup::kExpert}})
          .value();
  for (const GridSpec& spec :
       std::vector<GridSpec>{{.num_ranks = 1},
                             {.num_ranks = 3},
                             {.num_ranks = 4, .tp = 2},
                             {.num_ranks = 4, .tp = 4, .ep = 2},
                             {.num_ranks = 8, .tp = 2, .ep = 4},
                             {.num_ranks = 8, .tp = 2, .ep = 2, .expt_tp = 2}}) {
    GridSpec named = spec;
    named.name = "language";
    const Grid grid = Grid::Make(named).value();
    int64_t counted = 0;
    for (int64_t i = 0; i < spec.num_ranks; ++i) {
      const GlobalRank rank(i);
      MemoryLedger memory;
      const ShardSpec shard = {
          .tp = {grid.Coord(rank, Axis::kTp), grid.Size(Axis::kTp)},
          .ep = {grid.Coord(rank, Axis::kEp), grid.Size(Axis::kEp)},
          .expt_tp = {grid.Coord(rank, Axis::kExptTp), grid.Size(Axis::kExptTp)},
          .pp = {}};
      const auto store = ParameterStore::Create(table, shard, Device{}, memory).value();
      for (const StatisticsPiece& piece : StatisticsPieces(store->groups(), grid, rank)) {
        counted += piece.count;
      }
    }
    EXPECT_EQ(counted, table.num_parameters()) << grid.base().ToString();
  }
}

// One parameter of every way to lie on ranks. The columns of qkv that two groups share are whole.
std::vector<ParameterSpec> EveryWayToShare() {
  return {
      {.name = "embedding", .shape = {10, 3}, .dims = {{.axis = ShardAxis::kTp, .tile = 4}, {}}},
      {.name = "norm", .shape = {7}, .partial_over_tp = true},
      {.name = "qkv",
       .shape = {24, 3},
       .dims = {{ShardAxis::kTp, {{8}, {2, /*whole=*/true}, {2, true}}, /*units=*/2}, {}}},
      {.name = "in_proj", .shape = {24, 2}, .dims = {{ShardAxis::kTp, {{8}, {8}, {4}, {4}}}, {}}},
      {.name = "proj", .shape = {5, 8}, .dims = {{}, {ShardAxis::kTp}}},
      {.name = "alike", .shape = {6}},
      {.name = "experts",
       .shape = {4, 2, 3},
       .dims = {{ShardAxis::kEp}, {ShardAxis::kExptTp}, {}},
       .gradient_group = GradientGroup::kExpert}};
}

// Calls function(index in the logical tensor, index in the local tensor) for each element.
template <typename Function>
void ForEachElement(const ParameterSpec& spec, const Shard& shard, const ShardBox& box,
                    Function function) {
  int64_t count = 1;
  for (const int64_t extent : box.extent) count *= extent;
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i, logical = 0, local = 0, logical_stride = 1, local_stride = 1;
    for (size_t d = spec.shape.size(); d-- > 0;) {
      const int64_t at = rest % box.extent[d];
      rest /= box.extent[d];
      logical += (box.logical_begin[d] + at) * logical_stride;
      local += (box.local_begin[d] + at) * local_stride;
      logical_stride *= spec.shape[d];
      local_stride *= shard.shape[d];
    }
    function(logical, local);
  }
}

// The gradient of an element, which its ranks have parts of: whole numbers, so that sums are exact.
constexpr int64_t kParts = 16;
int64_t Gradient(const ParameterSpec& spec, int64_t index) {
  return kParts * ((7 * index + std::ssize(spec.name)) % 11 - 5);
}
int64_t PartOfGradient(const ParameterSpec& spec, int64_t index, int64_t part, int64_t num_parts) {
  const int64_t equal = Gradient(spec, index) / kParts;
  return part > 0 ? equal : equal * (kParts - num_parts + 1);
}

struct SharedLayout {
  GridSpec grid;
  std::vector<int64_t> partial_replicas;
};

class SharedParametersTest : public ::testing::TestWithParam<SharedLayout> {};

TEST_P(SharedParametersTest, GradientsAndNormAreThoseOfOneRank) {
  GridSpec spec = GetParam().grid;
  spec.name = "language";
  const Grid grid = Grid::Make(spec).value();
  const ParameterTable table = ParameterTable::Make(EveryWayToShare()).value();
  std::vector<double> squares(spec.num_ranks);
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    const ShardSpec place = {.tp = {grid.Coord(rank, Axis::kTp), grid.Size(Axis::kTp)},
                             .ep = {grid.Coord(rank, Axis::kEp), grid.Size(Axis::kEp)},
                             .expt_tp = {grid.Coord(rank, Axis::kExptTp), grid.Size(Axis::kExptTp)},
                             .pp = {}};
    MemoryLedger memory;
    StreamWithWorkspace stream;
    HETERO_ASSIGN_OR_RETURN(const auto store,
                            ParameterStore::Create(table, place, Device{}, memory));
    std::vector<std::unique_ptr<Communicator>> made;
    const auto make = [&](std::string channel, const Group& group) -> Communicator* {
      if (group.size() < 2) return nullptr;
      made.push_back(factory.Create({std::move(channel), group}).value());
      return made.back().get();
    };
    const Group dense = *grid.GroupOf(Family::kDpCp, rank);
    const Group expert = *grid.GroupOf(Family::kExptDp, rank);
    GradientGroups groups{.dense = make("dense", dense), .expert = make("expert", expert)};
    const std::vector<int64_t> replicas = PartialReplicas(store->groups());
    if (replicas != GetParam().partial_replicas) return absl::InternalError("partial replicas");
    for (const int64_t size : replicas) {
      groups.partial[size] =
          make(absl::StrCat("partial", size), *grid.PartOf(Family::kTp, rank, size));
    }
    for (const bool check : {false, true}) {
      for (const auto& parameter : store->parameters()) {
        const ParameterSpec& of = *parameter->spec;
        HETERO_ASSIGN_OR_RETURN(const Shard shard, ShardOf(of, place));
        const std::span<float> gradient = parameter->gradient.values<float>();
        const Group& sharing = of.gradient_group == GradientGroup::kDense ? dense : expert;
        bool right = true;
        for (const ShardBox& box : shard.boxes) {
          // Of those that hold "alike", each has the same gradient.
          const int64_t holders = of.name == "alike" ? 1 : box.replicas;
          const int64_t part =
              RankIn(sharing, rank)->value() * holders + (holders > 1 ? box.replica : 0);
          ForEachElement(of, shard, box, [&](int64_t logical, int64_t local) {
            if (check) {
              right &= gradient[local] == static_cast<float>(Gradient(of, logical));
            } else {
              gradient[local] = static_cast<float>(
                  PartOfGradient(of, logical, part, std::ssize(sharing) * holders));
            }
          });
        }
        if (!right) return absl::InternalError(of.name);
      }
      if (check) break;
      GradientSync sync(grid.name(), *store, groups, /*bucket_elements=*/100);
      HETERO_RETURN_IF_ERROR(sync.Run(*stream));
    }
    HETERO_ASSIGN_OR_RETURN(const auto optimizer,
                            ModuleOptimizer::Create(kAdamW, *store, grid, rank, Device{}, memory));
    std::vector<double> totals = {0, 0};
    HETERO_RETURN_IF_ERROR(optimizer->AddStatistics(TensorView(std::span(totals), {2}), *stream));
    squares[static_cast<size_t>(rank.value())] = totals[0];
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(spec.num_ranks, run), IsOk());
  double expected = 0;
  for (const ParameterSpec& of : table.specs()) {
    for (int64_t i = 0; i < of.num_elements(); ++i) expected += std::pow(Gradient(of, i), 2);
  }
  EXPECT_EQ(std::accumulate(squares.begin(), squares.end(), 0.0), expected);
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, SharedParametersTest,
    ::testing::Values(SharedLayout{{.num_ranks = 1}, {}},
                      SharedLayout{{.num_ranks = 2, .tp = 2}, {2}},
                      SharedLayout{{.num_ranks = 4, .tp = 2, .ep = 4}, {2}},
                      SharedLayout{{.num_ranks = 4, .tp = 4, .ep = 2}, {2, 4}},
                      SharedLayout{{.num_ranks = 8, .tp = 4, .ep = 2, .expt_tp = 2}, {2, 4}}));

TEST(OptimizerTest, OneNormAndOneClipFactorOverAllModules) {
  std::vector<StepReport> reports(2);
  EXPECT_THAT(
      RunRanks(2,
               [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                 const bool first = rank == GlobalRank(0);
                 StreamWithWorkspace stream;
                 Module module(first ? "vision" : "language", {{.name = "w", .shape = {1, 1}}});
                 module.grid = Grid::Make({.name = module.grid.name(), .num_ranks = 1}).value();
                 HETERO_ASSIGN_OR_RETURN(
                     auto control, factory.Create({"control", {GlobalRank(0), GlobalRank(1)}}));
                 HETERO_ASSIGN_OR_RETURN(
                     auto optimizer, Optimizer::Create(Linear(), 1.0, {"language", "vision"},
                                                       {module.optimizer.get()}, control.get(), 2,
                                                       Device{}, module.memory));
                 module.gradient("w")[0] = first ? 4.0f * 8 : -3.0f * 8;
                 const HostTensor<double> addends({2}, {first ? 0 : 20.5, 1});
                 HETERO_ASSIGN_OR_RETURN(
                     reports[rank.value()],
                     optimizer->Step(
                         {.samples = 4, .tokens = Tokens(first ? 0 : 8), .addends = addends.view()},
                         *stream));
                 const float moment = module.optimizer->moments()[0].first.values<float>()[0];
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
    EXPECT_THAT(report.sums, ElementsAre(20.5, 2));
  }
  EXPECT_EQ(reports[0].clip_factor, reports[1].clip_factor);
}

TEST(OptimizerTest, ANonFiniteGradientOfOneRankSkipsTheStepOnAll) {
  EXPECT_THAT(
      RunRanks(
          2,
          [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
            const bool first = rank == GlobalRank(0);
            StreamWithWorkspace stream;
            Module module(first ? "vision" : "language", {{.name = "w", .shape = {2, 2}}});
            HETERO_ASSIGN_OR_RETURN(auto control,
                                    factory.Create({"control", {GlobalRank(0), GlobalRank(1)}}));
            HETERO_ASSIGN_OR_RETURN(
                auto optimizer,
                Optimizer::Create(Linear(), 1.0, {"vision", "language"}, {module.optimizer.get()},
                                  control.get(), 0, Device{}, module.memory));
            std::ranges::fill(module.gradient("w"), 1.0f);
            HETERO_RETURN_IF_ERROR(
                optimizer->Step({.samples = 10, .tokens = Tokens(1)}, *stream).status());
            const std::vector<float> before(module.values("w").begin(), module.values("w").end());
            const OptimizerProgress progress = optimizer->progress();
            if (first) module.gradient("w")[3] = std::numeric_limits<float>::infinity();
            HETERO_ASSIGN_OR_RETURN(StepReport report,
                                    optimizer->Step({.samples = 10, .tokens = Tokens(1)}, *stream));
            OptimizerProgress expected = progress;
            expected.skipped_non_finite = 1;
            const bool kept = std::ranges::equal(module.values("w"), before) &&
                              optimizer->progress() == expected &&
                              report.outcome == StepOutcome::kNonFinite &&
                              report.non_finite_gradients == 1;
            if (!kept) return absl::InternalError("a skipped step changed something");
            if (!std::isnan(report.gradient_norm) || !std::isnan(report.module_norms[0]) ||
                report.module_norms[1] != 1) {
              return absl::InternalError("the norm of gradients that are not finite is a number");
            }

            std::ranges::fill(module.gradient("w"), 1.0f);
            HETERO_ASSIGN_OR_RETURN(report,
                                    optimizer->Step({.samples = 10, .tokens = Tokens(1)}, *stream));
            return report.learning_rate == Linear().At(10) &&
                           optimizer->progress().applied_steps == 2
                       ? absl::OkStatus()
                       : absl::InternalError("the skipped step advanced the schedule");
          }),
      IsOk());
}

// Reports asked for a step late change nothing: the second step knows that the first was skipped.
TEST(OptimizerTest, AStepIsQueuedBeforeTheLastOneIsReported) {
  Module module("language", {{.name = "w", .shape = {2}}});
  StreamWithWorkspace stream;
  const auto optimizer = Alone(module, 0);
  std::ranges::fill(module.gradient("w"), 1.0f);
  ASSERT_THAT(optimizer->Queue({.samples = 10, .tokens = Tokens(0)}, *stream), IsOk());
  for (const double learning_rate : {Linear().At(0), Linear().At(10)}) {
    ASSERT_THAT(optimizer->Queue({.samples = 10, .tokens = Tokens(1)}, *stream), IsOk());
    const StepReport late = optimizer->Report().value();
    EXPECT_EQ(late.outcome == StepOutcome::kNoTokens, late.tokens == 0);
    EXPECT_EQ(optimizer->progress().applied_steps, late.tokens);
    EXPECT_EQ(late.learning_rate, Linear().At(0));
    EXPECT_EQ(Linear().At(optimizer->progress().consumed_samples), learning_rate);
  }
  EXPECT_EQ(optimizer->Report()->learning_rate, Linear().At(10));
  EXPECT_EQ(
      optimizer->progress(),
      (OptimizerProgress{.applied_steps = 2, .consumed_samples = 20, .skipped_no_tokens = 1}));
}

// Updates below half a unit in the last place of bf16 add up in the master until they are seen.
TEST(OptimizerTest, ParametersStoredInBf16FollowTheirF32Masters) {
  AdamWOptions options = kAdamW;
  Module wide("language", {{.name = "w", .shape = {3}}}, 1, 0, options);
  Module narrow("language", {{.name = "w", .shape = {3}, .storage = DType::kBF16}}, 1, 0, options);
  StreamWithWorkspace stream;
  const std::vector<float> initial = {100, 1.5f, -0.25f};
  std::ranges::copy(initial, wide.values("w").begin());
  const std::span<BFloat16> stored = narrow.store->Find("w").value()->value.values<BFloat16>();
  std::ranges::transform(initial, stored.begin(), [](float value) { return BFloat16(value); });
  ASSERT_THAT(narrow.optimizer->LoadMasters(*stream), IsOk());
  const auto wide_steps = Alone(wide, 0), narrow_steps = Alone(narrow, 0);
  for (int step = 0; step < 8; ++step) {
    for (Module* module : {&wide, &narrow}) {
      std::ranges::copy(std::vector<float>{1, -2, 3}, module->gradient("w").begin());
    }
    ASSERT_THAT(wide_steps->Step({.samples = 1, .tokens = Tokens(1)}, *stream), IsOk());
    ASSERT_THAT(narrow_steps->Step({.samples = 1, .tokens = Tokens(1)}, *stream), IsOk());
    for (size_t i = 0; i < initial.size(); ++i) {
      EXPECT_EQ(stored[i].bits(), BFloat16(wide.values("w")[i]).bits());
    }
  }
  EXPECT_EQ(static_cast<float>(stored[0]), 99);
}

TEST(OptimizerTest, AStepWithoutTokensIsSkippedAndCounted) {
  Module module("language", {{.name = "w", .shape = {2}}});
  StreamWithWorkspace stream;
  const auto optimizer = Alone(module, 0);
  std::ranges::fill(module.gradient("w"), 1.0f);
  const StepReport report = optimizer->Step({.samples = 4, .tokens = Tokens(0)}, *stream).value();
  EXPECT_EQ(report.outcome, StepOutcome::kNoTokens);
  EXPECT_THAT(module.values("w"), Each(0));
  EXPECT_EQ(optimizer->progress(), (OptimizerProgress{.skipped_no_tokens = 1}));
}

TEST(OptimizerTest, AFaultSkipsTheStepAndSaysSo) {
  Module module("language", {{.name = "w", .shape = {2}}});
  StreamWithWorkspace stream;
  const auto optimizer = Alone(module, 0);
  std::ranges::fill(module.gradient("w"), 1.0f);
  const HostTensor<double> faults({1}, {3});
  const StepReport report =
      optimizer->Step({.samples = 4, .tokens = Tokens(4), .faults = faults.view()}, *stream)
          .value();
  EXPECT_EQ(report.outcome, StepOutcome::kFaulty);
  EXPECT_THAT(module.values("w"), Each(0));
  EXPECT_EQ(optimizer->progress(), (OptimizerProgress{.skipped_faulty = 1}));
}

TEST(OptimizerTest, TheMeanOverTokensIsInTheUpdateAndClippingCanBeOff) {
  Module module("language", {{.name = "w", .shape = {3}}});
  StreamWithWorkspace stream;
  const auto optimizer = Alone(module, 0);
  const std::vector<float> gradient = {40, -8, 0};
  std::ranges::copy(gradient, module.gradient("w").begin());
  const StepReport report = optimizer->Step({.samples = 4, .tokens = Tokens(4)}, *stream).value();
  EXPECT_DOUBLE_EQ(report.gradient_norm, std::sqrt(1600.0 + 64.0) / 4);
  EXPECT_EQ(report.clip_factor, 1);
  EXPECT_THAT(module.optimizer->moments()[0].first.values<float>().subspan(0, 3),
              IsCloseTo(std::vector<double>{1, -0.2, 0}, {.relative = 4 * Epsilon<float>()}));
  EXPECT_THAT(module.optimizer->moments()[0].second.values<float>().subspan(0, 3),
              IsCloseTo(std::vector<double>{1, 0.04, 0}, {.relative = 8 * Epsilon<float>()}));
  EXPECT_THAT(module.gradient("w"), testing::ElementsAreArray(gradient));  // no pass of its own
}

TEST(OptimizerTest, OnlyWhatItsSpecDecaysShrinks) {
  AdamWOptions options = kAdamW;
  options.weight_decay = 0.5;
  Module module("language",
                {{.name = "norm", .shape = {4}, .decay = false},
                 {.name = "conv", .shape = {4, 3}},
                 {.name = "conv.bias", .shape = {4}, .decay = false},
                 {.name = "embedding", .shape = {6, 2}},
                 {.name = "head", .shape = {6, 2}},
                 {.name = "experts", .shape = {2, 3, 2}, .gradient_group = GradientGroup::kExpert}},
                1, 0, options);
  StreamWithWorkspace stream;
  const auto optimizer = Alone(module, 1.0);
  for (const auto& parameter : module.store->parameters()) {
    std::ranges::fill(parameter->value.values<float>(), 1.0f);
  }
  ASSERT_THAT(optimizer->Step({.samples = 1, .tokens = Tokens(1)}, *stream), IsOk());
  EXPECT_THAT(module.values("norm"), Each(1.0f));
  EXPECT_THAT(module.values("conv.bias"), Each(1.0f));
  for (const std::string_view name : {"conv", "embedding", "head", "experts"}) {
    EXPECT_THAT(module.values(name), Each(testing::FloatEq(0.95f))) << name;
  }
}

TEST(OptimizerTest, AFrozenModuleHasNoStateAndAddsNothingToTheNorm) {
  Module vision("vision", {{.name = "patch", .shape = {2, 2}, .trainable = false}});
  Module language("language", {{.name = "w", .shape = {1}}});
  EXPECT_TRUE(vision.optimizer->frozen());
  StreamWithWorkspace stream;
  const auto optimizer = Optimizer::Create(Linear(), 0, {"vision", "language"},
                                           {vision.optimizer.get(), language.optimizer.get()},
                                           nullptr, 0, Device{}, language.memory)
                             .value();
  language.gradient("w")[0] = 3;
  const StepReport report = optimizer->Step({.samples = 1, .tokens = Tokens(1)}, *stream).value();
  EXPECT_THAT(report.module_norms, ElementsAre(0, 3));
  EXPECT_THAT(vision.values("patch"), Each(0));
  EXPECT_LT(language.values("w")[0], 0);
}

// Two data-parallel ranks with half of the gradients each are one rank with all of them.
TEST(OptimizerTest, DataParallelStepsEqualTheSingleRankBitwise) {
  const std::vector<ParameterSpec> specs = {{.name = "a", .shape = {70, 3}},
                                            {.name = "b", .shape = {5}, .decay = false}};
  const auto gradient = [](int64_t rank, int64_t step, int64_t i) {
    return std::ldexp(static_cast<float>((rank * 37 + step * 11 + i * 7) % 101 - 50), -6);
  };
  const auto fill = [&](Module& module, int64_t step, std::initializer_list<int64_t> ranks) {
    int64_t i = 0;
    for (const auto& parameter : module.store->parameters()) {
      for (float& value : parameter->gradient.values<float>()) {
        value = 0;
        for (const int64_t rank : ranks) value += gradient(rank, step, i);
        ++i;
      }
    }
  };
  Module single("language", specs);
  StreamWithWorkspace stream;
  const auto optimizer = Alone(single, 0);
  for (int64_t step = 0; step < 5; ++step) {
    fill(single, step, {0, 1});
    ASSERT_THAT(optimizer->Step({.samples = 8, .tokens = Tokens(13)}, *stream), IsOk());
  }
  const std::vector<float> expected(single.values("a").begin(), single.values("a").end());
  EXPECT_THAT(
      RunRanks(2,
               [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                 const Group world = {GlobalRank(0), GlobalRank(1)};
                 Module module("language", specs, 2, rank.value());
                 StreamWithWorkspace own;
                 HETERO_ASSIGN_OR_RETURN(auto control, factory.Create({"control", world}));
                 HETERO_ASSIGN_OR_RETURN(auto dp, factory.Create({"gradient", world}));
                 GradientSync sync("language", *module.store, {.dense = dp.get()});
                 HETERO_ASSIGN_OR_RETURN(
                     auto shared,
                     Optimizer::Create(Linear(), 0, {"language"}, {module.optimizer.get()},
                                       control.get(), 0, Device{}, module.memory));
                 for (int64_t step = 0; step < 5; ++step) {
                   fill(module, step, {rank.value()});
                   HETERO_RETURN_IF_ERROR(sync.Run(*own));
                   const double tokens = rank == GlobalRank(0) ? 3 : 10;
                   HETERO_RETURN_IF_ERROR(
                       shared->Step({.samples = 8, .tokens = Tokens(tokens)}, *own).status());
                 }
                 return std::ranges::equal(module.values("a"), expected)
                            ? absl::OkStatus()
                            : absl::InternalError("parameters differ");
               }),
      IsOk());
}

TEST(OptimizerTest, AShapeOnlyStepRecordsWhatARealOneDoes) {
  const Device shape_only{DeviceKind::kShapeOnly};
  MemoryLedger memory;
  const Grid grid = Grid::Make({.name = "language", .num_ranks = 1}).value();
  const auto store =
      ParameterStore::Create(ParameterTable::Make({{.name = "w", .shape = {100}}}).value(), {},
                             shape_only, memory)
          .value();
  const auto module =
      ModuleOptimizer::Create(kAdamW, *store, grid, GlobalRank(0), shape_only, memory).value();
  const auto optimizer =
      Optimizer::Create(Linear(), 1, {"language"}, {module.get()}, nullptr, 0, shape_only, memory)
          .value();
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  ASSERT_THAT(optimizer->Step({.samples = 1, .tokens = Tokens(1)}, *stream), IsOk());
  EXPECT_EQ(stream->ledger().operations().at("adamw").calls, 1);
  EXPECT_EQ(stream->ledger().operations().at("sum_of_squares").calls, 1);
  EXPECT_EQ(optimizer->progress(), OptimizerProgress());
}

TEST(OptimizerTest, RefusesUnknownModulesAndOtherAddends) {
  Module module("language", {{.name = "w", .shape = {1}}});
  EXPECT_THAT(Optimizer::Create(Linear(), 1, {"vision"}, {module.optimizer.get()}, nullptr, 0,
                                Device{}, module.memory),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("module language is not among those of the run: vision")));
  EXPECT_THAT(
      Optimizer::Create(Linear(), NAN, {"language"}, {}, nullptr, 0, Device{}, module.memory),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("clip_gradient_norm is nan")));
  StreamWithWorkspace stream;
  EXPECT_THAT(Alone(module, 1, 2)->Step({.samples = 1, .tokens = Tokens(1)}, *stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("addends")));
}

}  // namespace
}  // namespace hetero
