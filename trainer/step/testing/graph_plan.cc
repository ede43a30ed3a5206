#include "hetero/trainer/step/testing/graph_plan.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "hetero/trainer/step/order_text.h"

namespace hetero {

GraphModel::GraphModel(const std::vector<std::string>& modules, std::vector<GraphEdge> edges,
                       std::vector<std::string> frozen)
    : frozen_(std::move(frozen)) {
  for (const std::string& name : modules) {
    graph_.modules.push_back({.name = name,
                              .owns_samples = name == "language",
                              .hidden_width = static_cast<int64_t>(name.size())});
  }
  graph_.edges = std::move(edges);
}

int64_t GraphModel::RowsOnEdge(int, const SampleFacts& sample) const {
  return sample.modalities.at(0).num_tokens;
}

int64_t GraphModel::RowsBetweenStages(std::string_view, const SampleFacts& sample) const {
  return sample.row_length;
}

absl::StatusOr<ParameterTable> GraphModel::MakeTable(std::string_view module,
                                                     const ShardSpec& shard) const {
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

absl::StatusOr<std::unique_ptr<Stage>> GraphModel::MakeStage(std::string_view, StagePlace,
                                                             const StageResources&) const {
  return absl::UnimplementedError("a graph has no stages");
}

GraphModel Vision(std::vector<std::string> frozen) {
  return {{"vision", "language"},
          {{.source = "vision", .destination = "language", .width = 128}},
          std::move(frozen)};
}

Layout MakeLayout(const std::vector<GridSpec>& specs, int64_t world_size) {
  return Layout::Make(specs, world_size).value();
}

Layout Disjoint(int64_t vision, int64_t language, int64_t vision_pp, int64_t language_pp) {
  return MakeLayout(
      {{.name = "vision", .num_ranks = vision, .pp = vision_pp},
       {.name = "language", .num_ranks = language, .pp = language_pp, .rank_offset = vision}},
      vision + language);
}

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

std::string Flat(std::string_view text) {
  return absl::StrReplaceAll(text, {{"[", ""}, {"]", ""}, {"+", " "}});
}

std::vector<int> Warmups(const StepPlan& plan) {
  std::vector<int> warmups;
  for (const PlanStage& stage : plan.stages) warmups.push_back(stage.warmup);
  return warmups;
}

}  // namespace hetero
