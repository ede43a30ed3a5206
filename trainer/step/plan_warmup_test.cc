// How many microbatches each stage takes on before it gives one back, under every option of a
// schedule.

#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/step/order_text.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/testing/graph_plan.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PlanTest, PipelinesWarmUpByTheirDistanceToTheLoss) {
  const StepPlan plan = MakePlan(Disjoint(2, 2, 2, 2), Vision(), 8, 32, {0}).value();
  EXPECT_THAT(Warmups(plan), ElementsAre(3, 2, 1, 0));
  ASSERT_EQ(plan.edges.size(), 3);
  EXPECT_EQ(plan.edges[0].name, "vision.0-vision.1");
  EXPECT_EQ(plan.edges[1].name, "language.0-language.1");
  EXPECT_EQ(plan.edges[2].name, "vision.1-language.0");
  EXPECT_EQ(TrainText(plan, 0), "F0 sf0 F1 sf1 F2 sf2 F3 [sf3+rb0] B0 rb1 B1 rb2 B2 rb3 B3");
  EXPECT_EQ(TrainText(plan, 3), "rf0 F0 B0 [sb0+rf1] F1 B1 [sb1+rf2] F2 B2 [sb2+rf3] F3 B3 sb3");
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    EXPECT_EQ(plan.stages[s].num_slots, PeakInFlight(RanksOf(plan, static_cast<int>(s)).train));
  }
}

TEST(PlanTest, RunAheadLengthensTheWarmUpOfSourcesOnly) {
  const StepPlan plan = MakePlan(Disjoint(2, 4, 2, 2), Vision(), 8, 128, {2}).value();
  EXPECT_THAT(Warmups(plan), ElementsAre(5, 2, 1, 0));
  // Posted ahead: the current receive and the next. The bridge ends at stage 2.
  const int bridge = 2;
  EXPECT_EQ(plan.edges[bridge].name, "vision.1-language.0");
  EXPECT_EQ(plan.NumReceiveSlots(ForwardChannel(bridge)), plan.stages[2].num_slots + 2);
  EXPECT_EQ(plan.NumReceiveSlots(BackwardChannel(bridge)), plan.stages[1].num_slots);
  EXPECT_EQ(plan.stages[0].num_slots, 6);
  // Never more slots than microbatches.
  EXPECT_EQ(MakePlan(Disjoint(1, 1), Vision(), 8, 16, {2})->stages[0].num_slots, 2);
}

TEST(PlanTest, NothingIsPostedAheadOfTheLastMicrobatch) {
  const StepPlan plan = MakePlan(Disjoint(1, 1), Vision(), 8, 16, {1000}).value();
  EXPECT_EQ(plan.NumReceiveSlots(ForwardChannel(0)), 2);
}

// Two encoders that reach the language model by paths of different length (image of two stages,
// audio of one) run in step: the warm-up is the distance to the loss, not from the source.
TEST(PlanTest, EncodersOfUnequalDepthAreFreeOfDeadlock) {
  const Layout layout =
      MakeLayout({{.name = "image", .num_ranks = 2, .pp = 2},
                  {.name = "audio", .num_ranks = 1, .rank_offset = 2},
                  {.name = "language", .num_ranks = 4, .pp = 4, .rank_offset = 3}},
                 7);
  const GraphModel model({"image", "audio", "language"},
                         {{.source = "image", .destination = "language", .width = 8},
                          {.source = "audio", .destination = "language", .width = 8}});
  // At run-ahead 0 plans are proved for transfers that end only once both ends are there.
  for (const int64_t global : {8, 16, 40, 64, 128}) {
    for (const int run_ahead : {0, 1, 2, 4}) {
      EXPECT_THAT(MakePlan(layout, model, 8, global, {run_ahead}), IsOk())
          << global << " samples, run-ahead " << run_ahead;
    }
  }
  for (const ScheduleOptions& schedule :
       {ScheduleOptions{.encoder_run_ahead = 0, .split_backward = true},
        ScheduleOptions{.encoder_run_ahead = 2, .split_backward = true},
        ScheduleOptions{.encoder_run_ahead = 2, .pipeline_chunks = 2}}) {
    EXPECT_THAT(MakePlan(layout, model, 8, 64, schedule), IsOk());
  }
  const StepPlan plan = MakePlan(layout, model, 8, 64, {0}).value();
  EXPECT_THAT(Warmups(plan), ElementsAre(5, 4, 4, 3, 2, 1, 0));
}

// The stage before the loss delays its weight halves as far as the memory of the first one goes.
TEST(PlanTest, ASplitBackwardHoldsAsManyMicrobatchesOnEveryStage) {
  for (const int run_ahead : {0, 2}) {
    const Layout layout = Disjoint(1, 2, 1, 2);
    const ScheduleOptions schedule = {.encoder_run_ahead = run_ahead, .split_backward = true};
    const StepPlan plan = MakePlan(layout, Vision(), 8, 48, schedule).value();
    EXPECT_EQ(plan.stages[0].num_slots, 3 + run_ahead);
    EXPECT_EQ(plan.stages[1].num_slots, 3);
    EXPECT_EQ(plan.stages[2].num_slots, 3);
    EXPECT_EQ(Flat(TrainText(plan, 2)),
              run_ahead == 0
                  ? "rf0 F0 I0 sb0 rf1 F1 I1 sb1 rf2 F2 I2 sb2 rf3 W0 F3 I3 sb3 rf4 W1 F4 I4 sb4 "
                    "rf5 W2 F5 I5 sb5 W3 W4 W5"
                  : "rf0 F0 I0 sb0 rf1 F1 I1 sb1 rf2 F2 I2 sb2 W0 rf3 F3 I3 sb3 W1 rf4 F4 I4 sb4 "
                    "W2 rf5 F5 I5 sb5 W3 W4 W5");
    // What a stage read is held until its weight half, and without run-ahead the next receive is
    // one exchange with the send before it.
    const StepPlan whole = MakePlan(layout, Vision(), 8, 48, {run_ahead}).value();
    EXPECT_EQ(plan.NumReceiveSlots(ForwardChannel(0)),
              whole.NumReceiveSlots(ForwardChannel(0)) + (run_ahead == 0 ? 3 : 2));
  }
}

TEST(PlanTest, ChunksAreStagesOfTheirRanks) {
  const Layout layout = Disjoint(1, 4, 1, 2);
  for (const int run_ahead : {0, 1, 2, 4}) {
    const ScheduleOptions schedule = {.encoder_run_ahead = run_ahead, .pipeline_chunks = 2};
    const StepPlan plan = MakePlan(layout, Vision(), 8, 128, schedule).value();
    ASSERT_EQ(plan.stages.size(), 5u);
    ASSERT_EQ(plan.classes.size(), 3u);
    EXPECT_THAT(plan.classes[1].stages, ElementsAre(1, 3));
    EXPECT_THAT(plan.classes[2].stages, ElementsAre(2, 4));
    for (int s = 1; s < 5; ++s) {
      const PlanStage& stage = plan.stages[s];
      EXPECT_EQ(stage.place.stage, stage.chunk * 2 + stage.pipeline_rank);
      EXPECT_EQ(stage.place.num_stages, 4);
    }
    EXPECT_THAT(ToString(plan.classes[2].train), HasSubstr("F0'1 B0'1 +sb0'1"));
    // Between the chunks rows go back to the first ranks of the pipeline.
    const int edge = 1;
    EXPECT_EQ(plan.edges[edge].name, "language.1-language.2");
    const std::vector<SampleRows> rows = {{.num_rows = 3}, {.num_rows = 5}};
    const RowPlan planned = plan.PlanRows(plan.AllLanes(layout, edge), edge, rows).value();
    ASSERT_EQ(planned.transfers.size(), 2u);
    EXPECT_EQ(planned.transfers[0].source, GlobalRank(3));
    EXPECT_EQ(planned.transfers[0].destination, GlobalRank(1));
  }
}

}  // namespace
}  // namespace hetero
