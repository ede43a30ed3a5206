// Plans of models that train in part.

#include <string>

#include "gtest/gtest.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/testing/graph_plan.h"

namespace hetero {
namespace {

// A stage runs backward when it or one before it trains; the others only run forward, and no
// gradient crosses an edge behind which nothing trains.
TEST(PlanTest, WhatIsFrozenRunsForwardOnly) {
  for (int run_ahead : {0, 2}) {
    const Layout layout = Disjoint(2, 1, 2);
    const StepPlan plan = MakePlan(layout, Vision({"vision.0"}), 8, 24, {run_ahead}).value();
    EXPECT_EQ(TrainText(plan, 0), "F0 sf0 F1 sf1 F2 sf2");
    EXPECT_EQ(Flat(TrainText(plan, 1)), "rf0 F0 sf0 rf1 F1 sf1 rb0 B0 rf2 F2 sf2 rb1 B1 rb2 B2");
    EXPECT_FALSE(plan.edges[0].returns);
    EXPECT_TRUE(plan.edges[1].returns);

    const StepPlan frozen =
        MakePlan(layout, Vision({"vision.0", "vision.1"}), 8, 24, {run_ahead}).value();
    EXPECT_EQ(TrainText(frozen, 1), "rf0 F0 sf0 rf1 F1 sf1 rf2 F2 sf2");
    EXPECT_EQ(TrainText(frozen, 2), "rf0 F0 B0 rf1 F1 B1 rf2 F2 B2");
    for (const PlanEdge& edge : frozen.edges) EXPECT_FALSE(edge.returns) << edge.name;
    EXPECT_FALSE(frozen.stages[1].runs_backward);

    const StepPlan language = MakePlan(layout, Vision({"language.0"}), 8, 24, {run_ahead}).value();
    EXPECT_FALSE(language.stages[2].trains);
    EXPECT_TRUE(language.stages[2].runs_backward) << "gradients pass through it";
    const StepPlan all = MakePlan(layout, Vision(), 8, 24, {run_ahead}).value();
    for (int stage = 0; stage < 3; ++stage) {
      EXPECT_EQ(TrainText(language, stage), TrainText(all, stage));
    }
  }
}

TEST(PlanTest, OfTwoEncodersOneFrozenOneGetsGradients) {
  const Layout layout =
      MakeLayout({{.name = "image", .num_ranks = 1},
                  {.name = "audio", .num_ranks = 1, .rank_offset = 1},
                  {.name = "language", .num_ranks = 2, .pp = 2, .rank_offset = 2}},
                 4);
  const GraphModel model({"image", "audio", "language"},
                         {{.source = "image", .destination = "language", .width = 8},
                          {.source = "audio", .destination = "language", .width = 8}},
                         {"image.0"});
  for (int run_ahead : {0, 2}) {
    const StepPlan plan = MakePlan(layout, model, 8, 32, {run_ahead}).value();
    EXPECT_EQ(TrainText(plan, 0), "F0 sf0 F1 sf1 F2 sf2 F3 sf3");
    EXPECT_EQ(Flat(TrainText(plan, 3)), "rf0 F0 B0 sb0 rf1 F1 B1 sb1 rf2 F2 B2 sb2 rf3 F3 B3 sb3");
  }
}

TEST(PlanTest, ColocatedFrozenModulesRunForwardOnly) {
  const Layout layout =
      MakeLayout({{.name = "vision", .num_ranks = 1}, {.name = "language", .num_ranks = 1}}, 1);
  const auto text = [&](const GraphModel& model) {
    return TrainText(MakePlan(layout, model, 8, 16, {0}).value(), 0);
  };
  EXPECT_EQ(text(Vision({"vision.0"})), "F0 sf0 rf0 F0 B0 F1 sf1 rf1 F1 B1");
  EXPECT_EQ(text(Vision({"vision.0", "language.0"})), "F0 sf0 rf0 F0 F1 sf1 rf1 F1");
}

TEST(PlanTest, WhatDoesNotTrainHasNoWeightHalf) {
  const ScheduleOptions schedule = {.encoder_run_ahead = 2, .split_backward = true};
  const StepPlan plan = MakePlan(Disjoint(1, 1), Vision({"language.0"}), 8, 16, schedule).value();
  EXPECT_EQ(Flat(TrainText(plan, 0)), "F0 sf0 F1 sf1 rb0 I0 W0 rb1 I1 W1");
  EXPECT_EQ(Flat(TrainText(plan, 1)), "rf0 F0 B0 sb0 rf1 F1 B1 sb1");
}

}  // namespace
}  // namespace hetero
