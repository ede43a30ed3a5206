#ifndef HETERO_TRAINER_STEP_TESTING_GRAPH_PLAN_H_
#define HETERO_TRAINER_STEP_TESTING_GRAPH_PLAN_H_

// Plans for tests, made of a graph of modules and what of them trains.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/params/table.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// What plans ask a model for and nothing else. Every stage has a buffer and a weight; "language"
// owns the samples.
class GraphModel : public Model {
 public:
  // `frozen`: names of stages, "vision.0".
  GraphModel(const std::vector<std::string>& modules, std::vector<GraphEdge> edges,
             std::vector<std::string> frozen = {});

  const ModelGraph& graph() const override { return graph_; }
  int64_t RowsOnEdge(int edge, const SampleFacts& sample) const override;
  int64_t RowsBetweenStages(std::string_view module, const SampleFacts& sample) const override;
  Flops FlopsOf(std::string_view, const SampleFacts&) const override { return {}; }
  absl::StatusOr<ParameterTable> MakeTable(std::string_view module,
                                           const ShardSpec& shard) const override;
  // UNIMPLEMENTED.
  absl::StatusOr<std::unique_ptr<Stage>> MakeStage(std::string_view module, StagePlace place,
                                                   const StageResources& resources) const override;

 private:
  ModelGraph graph_;
  std::vector<std::string> frozen_;
};

// A vision encoder before a language model.
GraphModel Vision(std::vector<std::string> frozen = {});

// Precondition: the grids make a layout.
Layout MakeLayout(const std::vector<GridSpec>& specs, int64_t world_size);

// For Vision(), each module on so many ranks of its own.
Layout Disjoint(int64_t vision, int64_t language, int64_t vision_pp = 1, int64_t language_pp = 1);

// The programs of the ranks that hold stage `stage`.
const RankClass& RanksOf(const StepPlan& plan, int stage);

// Their training program as OrderText() writes it.
std::string TrainText(const StepPlan& plan, int stage);

// Without run-ahead a send and the receive behind it are one exchange: "[sf1+rb0]" for "sf1 rb0".
std::string Flat(std::string_view text);

// Of all stages.
std::vector<int> Warmups(const StepPlan& plan);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_TESTING_GRAPH_PLAN_H_
