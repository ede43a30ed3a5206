#include "hetero/trainer/step/plan.h"

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/grid/layout.h"
#include "hetero/trainer/step/order_text.h"
#include "hetero/trainer/step/testing/graph_plan.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(PlanTest, MicrobatchesFollowFromTheLanguageLanes) {
  for (const auto& [vision, language, microbatches] :
       {std::tuple(1, 1, 8), {2, 2, 4}, {1, 2, 4}, {2, 1, 8}, {4, 2, 4}}) {
    SCOPED_TRACE(absl::StrCat(vision, "+", language));
    const StepPlan plan = MakePlan(Disjoint(vision, language), Vision(), 8, 64, {0}).value();
    EXPECT_EQ(plan.num_microbatches(), microbatches);
    EXPECT_EQ(plan.num_owner_lanes, language);
    EXPECT_THAT(Warmups(plan), ElementsAre(1, 0));
    ASSERT_EQ(plan.edges.size(), 1);
    EXPECT_EQ(plan.edges[0].name, "vision.0-language.0");
    EXPECT_EQ(plan.edges[0].width, 128);
    EXPECT_EQ(plan.stages[0].num_slots, 2);
    EXPECT_EQ(plan.stages[1].num_slots, 1);
  }
}

// What goes over an edge arrives: each stage's program has the other end of every transfer.
TEST(PlanTest, SendsAndReceivesOfAnEdgeMatch) {
  for (int run_ahead : {0, 1, 2, 3}) {
    for (int64_t global : {8, 16, 32, 64}) {
      SCOPED_TRACE(absl::StrCat("run-ahead ", run_ahead, ", ", global, " samples"));
      const absl::StatusOr<StepPlan> plan =
          MakePlan(Disjoint(2, 3, 2, 3), Vision(), 8, global, {run_ahead});
      ASSERT_THAT(plan, IsOk());
      const auto order = [&](int stage, OpKind kind, int channel) {
        std::vector<int> microbatches;
        for (const Op& op : RanksOf(*plan, stage).train) {
          if (op.kind == kind && op.channel == channel) microbatches.push_back(op.microbatch);
        }
        return microbatches;
      };
      for (int e = 0; e < std::ssize(plan->edges); ++e) {
        const PlanEdge& edge = plan->edges[e];
        for (const int channel : {ForwardChannel(e), BackwardChannel(e)}) {
          const int from = IsForward(channel) ? edge.source : edge.destination;
          const int to = IsForward(channel) ? edge.destination : edge.source;
          const std::vector<int> sent = order(from, OpKind::kPostSend, channel);
          EXPECT_EQ(sent.size(), plan->num_microbatches());
          EXPECT_EQ(order(from, OpKind::kWaitSend, channel).size(), sent.size());
          EXPECT_EQ(order(to, OpKind::kPostReceive, channel), sent);
          EXPECT_EQ(order(to, OpKind::kWaitReceive, channel), sent);
        }
      }
    }
  }
}

TEST(PlanTest, RanksOfAStageAreAClass) {
  const Layout layout = Disjoint(2, 4, 2, 2);
  const StepPlan plan = MakePlan(layout, Vision(), 8, 64, {0}).value();
  const std::vector<int> stages = {0, 1, 2, 2, 3, 3};  // by rank; pp is the slowest axis
  ASSERT_EQ(plan.classes.size(), 4u);
  for (int64_t rank = 0; rank < 6; ++rank) {
    EXPECT_THAT(plan.StagesOf(layout, GlobalRank(rank)), ElementsAre(stages[rank]));
    const RankClass& ranks = plan.ClassOf(layout, GlobalRank(rank));
    EXPECT_THAT(ranks.stages, ElementsAre(stages[rank]));
    EXPECT_EQ(ranks.num_ranks, stages[rank] < 2 ? 1 : 2);
    for (const Op& op : ranks.train) {
      EXPECT_TRUE(op.stage == stages[rank] || op.kind == OpKind::kUpdate);
    }
  }
}

TEST(PlanTest, AStepEndsWithGradientsAndTheUpdate) {
  const StepPlan plan = MakePlan(Disjoint(2, 4, 2, 2), Vision(), 8, 64, {2}).value();
  for (const RankClass& ranks : plan.classes) {
    const std::string text = ToString(ranks.train);
    EXPECT_TRUE(text.ends_with(" G U P S")) << text;
    EXPECT_THAT(ToString(ranks.evaluate), Not(HasSubstr("U")));
  }
}

TEST(PlanTest, RanksOfColocatedModulesTakeOneMicrobatchAfterAnother) {
  const Layout layout =
      MakeLayout({{.name = "vision", .num_ranks = 2}, {.name = "language", .num_ranks = 2}}, 2);
  const StepPlan plan = MakePlan(layout, Vision(), 8, 32, {2}).value();
  EXPECT_EQ(plan.stages[0].num_slots, 1);
  ASSERT_EQ(plan.classes.size(), 1u);
  EXPECT_THAT(plan.classes[0].stages, ElementsAre(0, 1));
  EXPECT_EQ(TrainText(plan, 0), "F0 sf0 rf0 F0 B0 sb0 rb0 B0 F1 sf1 rf1 F1 B1 sb1 rb1 B1");
  EXPECT_EQ(OrderText(plan.classes[0].evaluate), "F0 sf0 rf0 F0 F1 sf1 rf1 F1");
}

// Every rank encodes; the ranks of the first language stage get the rows.
TEST(PlanTest, AColocatedPipelineRunsInPhases) {
  const Layout layout = MakeLayout(
      {{.name = "vision", .num_ranks = 4}, {.name = "language", .num_ranks = 4, .pp = 2}}, 4);
  const StepPlan plan = MakePlan(layout, Vision(), 8, 32, {2}).value();
  ASSERT_EQ(plan.classes.size(), 2u);
  EXPECT_THAT(plan.classes[0].stages, ElementsAre(0, 1));
  EXPECT_THAT(plan.classes[1].stages, ElementsAre(0, 2));
  EXPECT_EQ(plan.stages[0].num_slots, 2);
  EXPECT_EQ(OrderText(plan.classes[0].train),
            "F0 sf0 F1 sf1 rf0 F0 sf0 rf1 F1 sf1 rb0 B0 sb0 rb1 B1 sb1 rb0 B0 rb1 B1");
  EXPECT_EQ(OrderText(plan.classes[1].train),
            "F0 sf0 F1 sf1 rf0 F0 B0 sb0 rf1 F1 B1 sb1 rb0 B0 rb1 B1");
  EXPECT_EQ(plan.NumReceiveSlots(ForwardChannel(1)), 2);
}

// Rows go rank to rank inside a module and from lanes to lanes between modules.
TEST(PlanTest, RowsOfAnEdgeGoBetweenItsStages) {
  const Layout layout = Disjoint(2, 4, 2, 2);
  const StepPlan plan = MakePlan(layout, Vision(), 1, 2, {0}).value();
  const std::vector<IndexRange> tokens = {{0, 3}, {1, 5}};
  const std::vector<SampleRows> rows = {{3, 8, std::span(tokens).first(1)},
                                        {5, 8, std::span(tokens).last(1)}};
  const auto ends = [&](int edge) {
    std::vector<std::tuple<int64_t, int64_t, int64_t>> transfers;
    const RowPlan planned = plan.PlanRows(plan.AllLanes(layout, edge), edge, rows).value();
    for (const RowTransfer& transfer : planned.transfers) {
      transfers.emplace_back(transfer.source.value(), transfer.destination.value(),
                             transfer.num_rows);
    }
    return transfers;
  };
  EXPECT_EQ(plan.edges[0].name, "vision.0-vision.1");
  EXPECT_THAT(ends(0), ElementsAre(std::tuple(0, 1, 8)));
  EXPECT_EQ(plan.edges[1].name, "language.0-language.1");
  EXPECT_THAT(ends(1), ElementsAre(std::tuple(2, 4, 3), std::tuple(3, 5, 5)));
  EXPECT_EQ(plan.edges[2].name, "vision.1-language.0");
  EXPECT_THAT(ends(2), ElementsAre(std::tuple(1, 2, 3), std::tuple(1, 3, 5)));
}

TEST(PlanTest, SaysOneOfOneThing) {
  EXPECT_EQ(MakePlan(Disjoint(1, 1), Vision(), 1, 1, {0})->DescribeBatch(),
            "1 sample a step: 1 microbatch of 1 on 1 language lane");
  EXPECT_EQ(MakePlan(Disjoint(1, 2), Vision(), 8, 64, {0})->DescribeBatch(),
            "64 samples a step: 4 microbatches of 8 on 2 language lanes");
}

}  // namespace
}  // namespace hetero
