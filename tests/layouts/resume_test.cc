// What is saved in one layout is loaded in another, and the run goes on as if it had never ended.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tests/layouts/curve.h"
#include "hetero/tests/layouts/module_grids.h"
#include "hetero/trainer/testing/recipe_run.h"

namespace hetero {
namespace {

constexpr int kSaved = 2;

// The first steps of one run under `from`, which saves, and the rest under `to`.
Curve TrainInTwoRuns(const ModuleGrids& from, const ModuleGrids& to) {
  const std::string folder = from.Name() + "_to_" + to.Name();
  proto::RunConfig first = SweepModel(from);
  first.mutable_checkpoint()->mutable_save()->set_folder(folder);
  first.mutable_checkpoint()->mutable_save()->set_interval_steps(kSaved);
  Curve curve = TrainCurve(first, kSweepSteps);
  proto::RunConfig second = SweepModel(to);
  second.mutable_checkpoint()->mutable_load()->set_folder(folder);
  second.mutable_checkpoint()->mutable_load()->set_iteration(kSaved);
  const Curve rest = TrainCurve(second, kSweepSteps - kSaved);
  std::ranges::copy(rest.loss, curve.loss.begin() + kSaved);
  std::ranges::copy(rest.gradient_norm, curve.gradient_norm.begin() + kSaved);
  return curve;
}

class ResumeTest : public testing::TestWithParam<std::pair<ModuleGrids, ModuleGrids>> {};

TEST_P(ResumeTest, GoesOnInAnotherLayout) {
  ExpectSameTraining(TrainInTwoRuns(GetParam().first, GetParam().second), SweepModelOnOneRank());
}

const ModuleGrids kOneRank = {.colocated = true};

INSTANTIATE_TEST_SUITE_P(
    Grids, ResumeTest,
    testing::Values(
        std::pair(kOneRank, ModuleGrids{{.tp = 2}, {.tp = 2, .dp = 2, .ep = 4}}),
        std::pair(ModuleGrids{{.tp = 2}, {.tp = 2, .dp = 2, .ep = 4}}, kOneRank),
        // Pipelines, and another tensor parallelism.
        std::pair(ModuleGrids{{.pp = 2}, {.tp = 4, .pp = 2}}, ModuleGrids{{.dp = 2}, {.tp = 2}}),
        std::pair(ModuleGrids{{.dp = 2}, {.dp = 2, .ep = 2}},
                  ModuleGrids{{.tp = 2, .pp = 2}, {.tp = 2, .dp = 2, .pp = 2, .ep = 2}}),
        // Only the encoder's, then only the language model's.
        std::pair(ModuleGrids{{.tp = 2}, {.dp = 2}}, ModuleGrids{{.dp = 2}, {.dp = 2}}),
        std::pair(ModuleGrids{{.dp = 2}, {.tp = 2, .expt_tp = 2}},
                  ModuleGrids{{.dp = 2}, {.dp = 4}}),
        // Apart, then on the same ranks, and back.
        std::pair(ModuleGrids{{.tp = 2}, {.tp = 2, .ep = 2}},
                  ModuleGrids{{.dp = 4}, {.tp = 4, .ep = 2}, /*colocated=*/true}),
        std::pair(ModuleGrids{{.tp = 2, .dp = 2}, {.tp = 2, .dp = 2, .ep = 2}, true},
                  ModuleGrids{{.pp = 2}, {.dp = 4, .ep = 4}})),
    [](const auto& info) { return info.param.first.Name() + "_to_" + info.param.second.Name(); });

// The same layout goes on to the bit.
TEST(ResumeTest, InTheSameLayoutNothingChanges) {
  const ModuleGrids grids = {{.tp = 2}, {.tp = 2, .dp = 2, .ep = 2}};
  EXPECT_EQ(TrainInTwoRuns(grids, grids), TrainSweepModel(grids));
}

}  // namespace
}  // namespace hetero
