#include "hetero/trainer/step/plan.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/order_text.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A graph of modules and what of them trains; plans ask a model for nothing else.
class GraphModel : public Model {
 public:
  // `frozen`: names of stages, "vision.0".
  GraphModel(const std::vector<std::string>& modules, std::vector<GraphEdge> edges,
             std::vector<std::string> frozen = {})
      : frozen_(std::move(frozen)) {
    for (const std::string& name : modules) {
      graph_.modules.push_back({.name = name,
                                .owns_samples = name == "language",
                                .hidden_width = static_cast<int64_t>(name.size())});
    }
    graph_.edges = std::move(edges);
  }

  const ModelGraph& graph() const override { return graph_; }
  int64_t RowsOnEdge(int, const SampleFacts& sample) const override {
    return sample.modalities.at(0).num_tokens;
  }
  int64_t RowsBetweenStages(std::string_view, const SampleFacts& sample) const override {
    return sample.row_length;
  }
  // Of every stage a buffer and a weight.
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override {
    std::vector<ParameterSpec> specs;
    for (int s = 0; s < shard.pp.size; ++s) {
      const std::string stage = absl::StrCat(module, ".", s);
      const bool trainable = std::ranges::find(frozen_, stage) == frozen_.end();
      specs.push_back({.name = absl::StrCat(stage, ".bias"), .shape = {1}, .is_buffer = true});
      specs.push_back({.name = stage, .shape = {1}, .trainable = trainable});
      specs[specs.size() - 2].stage = specs.back().stage = s;
    }
    return ParameterTable::Make(std::move(specs));
  }
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view, StagePlace,
                                                   const StageResources&) const override {
    return absl::UnimplementedError("a graph has no stages");
  }

 private:
  ModelGraph graph_;
  std::vector<std::string> frozen_;
};

GraphModel Vision(std::vector<std::string> frozen = {}) {
  return {{"vision", "language"},
          {{.source = "vision", .destination = "language", .width = 128}},
          std::move(frozen)};
}

Layout MakeLayout(const std::vector<GridSpec>& specs, int64_t world_size) {
  return Layout::Make(specs, world_size).value();
}

Layout Disjoint(int64_t vision, int64_t language, int64_t vision_pp = 1, int64_t language_pp = 1) {
  return MakeLayout(
      {{.name = "vision", .num_ranks = vision, .pp = vision_pp},
       {.name = "language", .num_ranks = language, .pp = language_pp, .rank_offset = vision}},
      vision + language);
}

// The programs of the ranks that hold stage `stage`.
const RankClass& RanksOf(const StepPlan& plan, int stage) {
  for (const RankClass& ranks : plan.classes) {
    if (std::ranges::find(ranks.stages, stage) != ranks.stages.end()) return ranks;
  }
  ADD_FAILURE() << "no rank holds stage " << stage;
  return plan.classes.front();
}

std::string TrainText(const StepPlan& plan, int stage) {
  return OrderText(RanksOf(plan, stage).train);
}

// Without run-ahead a send and the receive behind it are one exchange: "[sf1+rb0]" for "sf1 rb0".
std::string Flat(std::string_view text) {
  return absl::StrReplaceAll(text, {{"[", ""}, {"]", ""}, {"+", " "}});
}

std::vector<int> Warmups(const StepPlan& plan) {
  std::vector<int> warmups;
  for (const PlanStage& stage : plan.stages) warmups.push_back(stage.warmup);
  return warmups;
}

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
    EXPECT_TRUE(text.ends_with(" G S U")) << text;
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
  const std::vector<int64_t> rows = {3, 5};
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

TEST(PlanTest, WhatDoesNotTrainHasNoWeightHalf) {
  const ScheduleOptions schedule = {.encoder_run_ahead = 2, .split_backward = true};
  const StepPlan plan = MakePlan(Disjoint(1, 1), Vision({"language.0"}), 8, 16, schedule).value();
  EXPECT_EQ(Flat(TrainText(plan, 0)), "F0 sf0 F1 sf1 rb0 I0 W0 rb1 I1 W1");
  EXPECT_EQ(Flat(TrainText(plan, 1)), "rf0 F0 B0 sb0 rf1 F1 B1 sb1");
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
    const std::vector<int64_t> rows = {3, 5};
    const RowPlan planned = plan.PlanRows(plan.AllLanes(layout, edge), edge, rows).value();
    ASSERT_EQ(planned.transfers.size(), 2u);
    EXPECT_EQ(planned.transfers[0].source, GlobalRank(3));
    EXPECT_EQ(planned.transfers[0].destination, GlobalRank(1));
  }
}

TEST(PlanTest, ChunksThatNoPipelineBearsAreRefused) {
  const auto refused = [](const Layout& layout, int64_t global, std::string_view why) {
    EXPECT_THAT(MakePlan(layout, Vision(), 8, global, {.pipeline_chunks = 2}),
                StatusIs(absl::StatusCode::kInvalidArgument, std::string(why)));
  };
  refused(Disjoint(1, 1), 16, "pipeline_chunks is 2, which needs language.pp above 1; nearest: 1");
  refused(Disjoint(1, 2, 1, 2), 24,
          "pipeline_chunks is 2, which needs a multiple of language.pp 2 microbatches a step, not "
          "3; nearest: global_batch_size 32");
  refused(
      MakeLayout(
          {{.name = "vision", .num_ranks = 2}, {.name = "language", .num_ranks = 2, .pp = 2}}, 2),
      16, "pipeline_chunks is 2, which needs modules on ranks of their own; nearest: 1");
}

TEST(PlanTest, AGlobalBatchThatDoesNotDivideNamesTheNearest) {
  EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), 8, 72, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("global_batch_size 72")));
  EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), 8, 70, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest is 64")));
  EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), 8, 4, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest is 16")));
}

TEST(PlanTest, AModuleWithoutAGridIsNamed) {
  const GraphModel model({"audio", "language"},
                         {{.source = "audio", .destination = "language", .width = 8}});
  EXPECT_THAT(MakePlan(Disjoint(2, 2), model, 8, 64, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "grids[0].name is 'vision', the model has no such module, it has audio, "
                       "language; nearest: audio"));
  const GraphModel larger({"vision", "audio", "language"}, {});
  EXPECT_THAT(MakePlan(Disjoint(2, 2), larger, 8, 64, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "module audio of the model has no grid; add one of that name; nearest: "
                       "grids[2].name audio"));
}

TEST(PlanTest, AGridWithoutAModuleIsNamed) {
  EXPECT_THAT(MakePlan(Disjoint(2, 2), GraphModel({"language"}, {}), 8, 64, {0}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "grids[0].name is 'vision', the model has no such module, it has language, "
                       "each with a grid; remove this grid"));
}

TEST(PlanTest, NumbersThatNoPlanHasAreRefused) {
  const auto refused = [](int64_t micro, int64_t global, int run_ahead, std::string_view field) {
    EXPECT_THAT(MakePlan(Disjoint(2, 2), Vision(), micro, global, {run_ahead}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(field)));
  };
  for (const int64_t number : {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0},
                               std::numeric_limits<int64_t>::max()}) {
    refused(number, 64, 0, "micro_batch_size is ");
    refused(8, number, 0, "global_batch_size is ");
  }
  refused(8, 64, -1, "encoder_run_ahead is -1");
}

TEST(PlanTest, NothingIsPostedAheadOfTheLastMicrobatch) {
  const StepPlan plan = MakePlan(Disjoint(1, 1), Vision(), 8, 16, {1000}).value();
  EXPECT_EQ(plan.NumReceiveSlots(ForwardChannel(0)), 2);
}

TEST(PlanTest, SaysOneOfOneThing) {
  EXPECT_EQ(MakePlan(Disjoint(1, 1), Vision(), 1, 1, {0})->DescribeBatch(),
            "1 sample a step: 1 microbatch of 1 on 1 language lane");
  EXPECT_EQ(MakePlan(Disjoint(1, 2), Vision(), 8, 64, {0})->DescribeBatch(),
            "64 samples a step: 4 microbatches of 8 on 2 language lanes");
}

}  // namespace
}  // namespace hetero
