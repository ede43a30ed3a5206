#ifndef HETERO_TRAINER_STEP_PLAN_H_
#define HETERO_TRAINER_STEP_PLAN_H_

// A training step as data: the stages of all modules, the edges between them, and the programs that
// ranks walk. The engine executes them, the dry run prints them, the checker proves that they end.
// Stages and edges are global; peers are resolved per rank when a program runs.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/violation.h"
#include "hetero/data/sample_order.h"
#include "hetero/grid/lane_side.h"
#include "hetero/grid/layout.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/grid/rank.h"
#include "hetero/grid/row_plan.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/step/checker.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

struct PlanStage {
  std::string module;
  StagePlace place;
  // Where it lies on the pp axis of the module's grid, and which of the module's stages there it
  // is: stage chunk * pp + pipeline_rank.
  int64_t pipeline_rank = 0;
  int chunk = 0;
  int warmup = 0;
  int num_slots = 1;                     // microbatches in flight at most
  std::optional<int> weight_delay = {};  // of StageWork
  std::vector<int>
      in_edges;  // indices into StepPlan::edges: from the stage before, else the model's
  std::vector<int> out_edges;
  bool trains = false;  // has a parameter that trains
  // It or a stage before it trains: else it keeps nothing for a backward and nothing comes back.
  bool runs_backward = false;
  bool selective_recompute = false;  // of ModuleContext

  std::string name() const;  // "radio_encoder.0"
};

struct PlanEdge {
  int source = 0;  // stage
  int destination = 0;
  int graph_edge = -1;  // of ModelGraph::edges; -1: between two stages of a module
  int64_t width = 0;
  DType dtype = DType::kF32;
  bool returns = false;  // gradients of its rows go back: the source runs backward

  // "radio_encoder.0-language.0", the prefix of the calls on it.
  std::string name;
};

// How the stages of a rank share it: there is one, or those of an interleaved pipeline; they take
// turns; or the encoders go before the pipeline and after it.
enum class Sharing : uint8_t { kAlone, kAlternating, kPhased };

// Ranks that hold the same stages walk the same programs.
struct RankClass {
  std::vector<int> stages;  // sources first
  int64_t num_ranks = 0;
  GlobalRank first_rank;
  std::vector<Op> train;
  std::vector<Op> evaluate;
};

struct StepPlan {
  data::BatchLayout batch;
  // The module that owns the samples: one microbatch of the run is one of each of its lanes.
  std::string sample_owner;
  int64_t num_owner_lanes = 1;
  // An encoder whose lanes share the images of a step by cost; empty: each has those of its
  // samples.
  std::string balanced_module;
  Placement placement = Placement::kNonColocated;
  // As the programs were proved to end.
  int run_ahead = 0;
  TransferModel transfer_model = TransferModel::kChannels;
  std::vector<PlanStage> stages;
  std::vector<PlanEdge> edges;
  std::vector<RankClass> classes;

  Sharing sharing() const;

  // Whether what `edge` sends depends on how images are shared out.
  bool Balances(int edge) const { return stages[edges[edge].source].module == balanced_module; }

  // Stages that `rank` holds, sources first.
  std::vector<int> StagesOf(const Layout& layout, GlobalRank rank) const;
  const RankClass& ClassOf(const Layout& layout, GlobalRank rank) const;

  // The lanes at both ends of `edge`: all of them, and those that share samples with the lane of
  // `rank` in `stage`, an end of the edge that the rank holds. Lanes that share out their images
  // may share samples with any at the other end.
  LaneBlock AllLanes(const Layout& layout, int edge) const;
  LaneBlock BlockOf(const Layout& layout, int edge, int stage, GlobalRank rank) const;

  // Those whose ranks communicators of `edge` join: the block, but all lanes where ranks hold both
  // ends and may send to another block than they receive from.
  LaneBlock JoinedLanes(const Layout& layout, int edge, int stage, GlobalRank rank) const;

  // Where the rows of `edge` go between `lanes` of it, for samples with so many of them: rank to
  // rank inside a module, to the owners of tokens between modules.
  absl::StatusOr<RowPlan> PlanRows(const LaneBlock& lanes, int edge,
                                   std::span<const SampleRows> samples) const;

  // Received microbatches of `channel` at one rank that are posted or in use at the same time, at
  // most, as the programs have it.
  int NumReceiveSlots(int channel) const;

  // "radio_encoder.0 + language.0"
  std::string ClassName(const RankClass& ranks) const;

  int num_microbatches() const { return static_cast<int>(batch.NumMicrobatches()); }

  // "64 samples a step: 4 microbatches of 8 on 2 language lanes"
  std::string DescribeBatch() const;

  // "radio_encoder.0 F3", in errors and traces.
  std::string OpName(const Op& op) const;

  // For the dry run: one line a class.
  std::string ToString() const;
};

// What keeps grids of these names from being those of `modules`: every module needs one, and every
// grid is one's. Fields are named "grids[1].name".
std::vector<Violation> CheckModules(std::span<const std::string> grid_names,
                                    std::span<const std::string> modules);

// The module that reads images where another owns the samples; unset: there is none.
std::optional<std::string> ImageEncoder(const ModelGraph& graph);

// What keeps the pipeline of `sample_owner`, a module of `layout`, from being interleaved by
// `pipeline_chunks` in steps of `batch`, a whole number of microbatches whose size is the field
// `batch_field`. One violation at most, of field "pipeline_chunks".
std::vector<Violation> CheckChunks(const Layout& layout, std::string_view sample_owner,
                                   int64_t pipeline_chunks, const data::BatchLayout& batch,
                                   std::string_view batch_field);

struct ScheduleOptions {
  // Microbatches that the first stage of a source runs ahead of what its consumers need; 0 makes
  // every transfer synchronous, but in interleaved pipelines. Modules that share their ranks do not
  // run ahead.
  int encoder_run_ahead = 0;

  // Stages of the module that owns the samples on each of its ranks. More than one: its pipeline is
  // interleaved.
  int pipeline_chunks = 1;

  // Backward passes are two operations. A stage then holds as many microbatches as the first one of
  // its pipeline does, and its weight halves wait as long as that allows; stages that share their
  // ranks with others delay none.
  bool split_backward = false;

  // Modules whose stages keep less for a backward (ModuleContext::selective_recompute).
  std::vector<std::string> selective_recompute = {};

  // The lanes of ImageEncoder share out the images of a step.
  bool balance_images = false;
};

// Defined in make_plan.cc. Builds the plan and proves that its programs are in order, that they end
// and that what they send is received.
// Errors: INVALID_ARGUMENT when a number is negative or too large to plan with, when the global
// batch does not divide into microbatches, there is no ImageEncoder to balance, those of
// CheckModules, CheckChunks and Model::MakeTable;
// FAILED_PRECONDITION from the checks.
absl::StatusOr<StepPlan> MakePlan(const Layout& layout, const Model& model,
                                  int64_t micro_batch_size, int64_t global_batch_size,
                                  const ScheduleOptions& schedule);

}  // namespace hetero

#endif  // HETERO_TRAINER_STEP_PLAN_H_
