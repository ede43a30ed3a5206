#ifndef HETERO_TRAINER_PLAN_H_
#define HETERO_TRAINER_PLAN_H_

// A training step as data: the stages of all modules, the edges between them, and every stage's
// program. The executor walks it, the dry run prints it, the checker proves that it ends. Stages
// and edges are global; peers are resolved per rank when a program runs.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/grid/layout.h"
#include "hetero/grid/rank.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/schedule.h"

namespace hetero {

// Samples of a step. One microbatch of the run is one microbatch of every language lane.
struct BatchShape {
  int64_t micro_batch_size = 0;  // samples of a language lane's microbatch
  int64_t global_batch_size = 0;
  int64_t language_lanes = 0;

  int64_t samples_per_microbatch() const { return micro_batch_size * language_lanes; }
  int num_microbatches() const {
    return static_cast<int>(global_batch_size / samples_per_microbatch());
  }

  // "64 samples a step: 4 microbatches of 8 on 2 language lanes"
  std::string ToString() const;
};

struct PlanStage {
  std::string module;
  StagePlace place;
  int warmup = 0;
  std::vector<int> in_edges;  // indices into StepPlan::edges, in the model's order
  std::vector<int> out_edges;
  bool trains = false;  // has a parameter that trains
  // It or a stage before it trains: else it keeps nothing for a backward and nothing comes back.
  bool runs_backward = false;

  std::string name() const;  // "radio_encoder.0"
};

struct PlanEdge {
  int source = 0;  // stage
  int destination = 0;
  int64_t width = 0;
  bool returns = false;  // gradients of its rows go back: the source runs backward

  // "radio_encoder.0-language.0", the prefix of the calls on it.
  std::string name;
};

// A step of a rank's program: whose stage does what.
struct RankStep {
  int stage = 0;
  ScheduleStep step;
  std::string name;  // "radio_encoder.0 F3", in errors and traces
};

struct StepPlan {
  BatchShape batch;
  // Receives posted before they are needed, the current one included.
  int receives_ahead = 1;
  Placement placement = Placement::kNonColocated;
  std::vector<PlanStage> stages;
  std::vector<PlanEdge> edges;
  std::vector<std::vector<ScheduleStep>> train_programs;  // by stage
  std::vector<std::vector<ScheduleStep>> evaluate_programs;

  // The programs of `rank`'s stages as one. Ranks of colocated modules take microbatches one after
  // another through all modules.
  std::vector<RankStep> RankProgram(const Layout& layout, GlobalRank rank, bool evaluate) const;

  // Microbatches of `stage` in flight at most.
  int NumSlots(int stage) const;

  // For the dry run: one line a stage.
  std::string ToString() const;
};

// What keeps grids of these names from being those of `modules`: every module needs one, and every
// grid is one's. Fields are named "grids[1].name".
std::vector<Violation> CheckModules(std::span<const std::string> grid_names,
                                    std::span<const std::string> modules);

// Builds the plan and proves it free of deadlock.
// Errors: INVALID_ARGUMENT when a number is negative or too large to plan with, when the global
// batch does not divide into microbatches, those of CheckModules and Model::MakeTable;
// FAILED_PRECONDITION from the check.
absl::StatusOr<StepPlan> MakePlan(const Layout& layout, const Model& model,
                                  int64_t micro_batch_size, int64_t global_batch_size,
                                  int encoder_run_ahead);

}  // namespace hetero

#endif  // HETERO_TRAINER_PLAN_H_
