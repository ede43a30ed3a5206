#include "hetero/trainer/step/stage_feed.h"

#include <optional>
#include <vector>

#include "hetero/grid/axis.h"
#include "hetero/grid/lane_side.h"
#include "hetero/trainer/feed/token_owner.h"

namespace hetero {
namespace {

// Of the tokens where rows of edges arrive: those of the module that owns the samples.
std::optional<TokenOwner> TokenOwnerOf(const Layout& layout, const StepPlan& plan, GlobalRank rank,
                                       int64_t sequence_length) {
  const Grid& grid = *layout.Find(plan.sample_owner);
  if (!grid.Contains(rank)) return std::nullopt;
  const int64_t lane_samples = plan.batch.samples_per_microbatch / grid.num_lanes();
  return TokenOwner{.samples = {grid.LaneOf(rank).value() * lane_samples, lane_samples},
                    .row_length = sequence_length,
                    .rank = grid.Coord(rank, Axis::kTp),
                    .size = grid.Size(Axis::kTp)};
}

}  // namespace

std::optional<BalancedMedia> BalanceOf(const Layout& layout, const Model& model,
                                       const StepPlan& plan) {
  if (plan.balanced_module.empty()) return std::nullopt;
  return BalancedMedia{.modality = model.graph().Module(plan.balanced_module).modalities[0],
                       .num_lanes = layout.Find(plan.balanced_module)->num_lanes(),
                       .cost = [&model, module = plan.balanced_module](const SampleFacts& media) {
                         return model.FlopsOf(module, media).training;
                       }};
}

BatchFeedOptions StageFeed(const Layout& layout, const Model& model, const StepPlan& plan,
                           int stage, GlobalRank rank, int64_t sequence_length) {
  const ModelGraph& graph = model.graph();
  const PlanStage& plan_stage = plan.stages[stage];
  const Grid& grid = *layout.Find(plan_stage.module);
  const GraphModule& module = graph.Module(plan_stage.module);
  BatchFeedOptions feed{.reads_tokens = module.owns_samples,
                        .reads = module.modalities,
                        .reads_features = plan_stage.place.first(),
                        .modalities = graph.modalities,
                        .position = {grid.LaneOf(rank).value(), grid.num_lanes()},
                        .token_owner = TokenOwnerOf(layout, plan, rank, sequence_length),
                        .batch = plan.batch,
                        .sequence_length = sequence_length,
                        .vocabulary_size = graph.vocabulary_size,
                        .num_slots = plan_stage.num_slots,
                        .storage = module.storage};
  for (const GraphEdge& edge : graph.edges) {
    if (edge.destination == module.name) feed.edges.push_back(edge.modality);
  }
  const int64_t num_samples = plan.batch.samples_per_microbatch;
  bool joins_balanced = false;
  for (const std::vector<int>* edges : {&plan_stage.in_edges, &plan_stage.out_edges}) {
    for (const int edge : *edges) {
      const LaneBlock block = plan.BlockOf(layout, edge, stage, rank);
      joins_balanced |= plan.Balances(edge);
      feed.counted.push_back({block.FirstSample(num_samples), block.NumSamples(num_samples)});
    }
  }
  if (joins_balanced) feed.balanced = BalanceOf(layout, model, plan);
  return feed;
}

}  // namespace hetero
