#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/trainer/step/checker.h"
#include "hetero/trainer/step/interleaved.h"
#include "hetero/trainer/step/order_rules.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/plan_stages.h"
#include "hetero/trainer/step/schedule.h"
#include "hetero/trainer/step/transfer_check.h"

namespace hetero {
namespace {

// Samples, or microbatches ahead, that a plan is made for: their numbers are ints.
constexpr int64_t kMaxPlanned = int64_t{1} << 30;

StageWork WorkOf(const StepPlan& plan, int s, bool evaluate) {
  const PlanStage& stage = plan.stages[s];
  StageWork work{.stage = s,
                 .chunk = stage.chunk,
                 .num_microbatches = plan.num_microbatches(),
                 .warmup = stage.warmup,
                 .num_slots = stage.num_slots,
                 .runs_backward = stage.runs_backward && !evaluate,
                 .weight_delay = stage.weight_delay};
  for (const int edge : stage.in_edges) {
    work.receive_forward.push_back(ForwardChannel(edge));
    if (work.runs_backward && plan.edges[edge].returns) {
      work.send_backward.push_back(BackwardChannel(edge));
    }
  }
  for (const int edge : stage.out_edges) {
    work.send_forward.push_back(ForwardChannel(edge));
    if (work.runs_backward && plan.edges[edge].returns) {
      work.receive_backward.push_back(BackwardChannel(edge));
    }
  }
  return work;
}

// Ranks by the stages that they hold, in the order of their first ranks.
void AddClasses(const Layout& layout, StepPlan& plan) {
  for (int64_t r = 0; r < layout.world_size(); ++r) {
    const std::vector<int> stages = plan.StagesOf(layout, GlobalRank(r));
    auto found = std::ranges::find(plan.classes, stages, &RankClass::stages);
    if (found == plan.classes.end()) {
      plan.classes.push_back({.stages = stages, .first_rank = GlobalRank(r)});
      found = plan.classes.end() - 1;
    }
    ++found->num_ranks;
  }
}

absl::Status Check(const StepPlan& plan) {
  std::vector<ChannelEnds> channels;
  for (const PlanEdge& edge : plan.edges) {
    channels.push_back({edge.source, edge.destination, absl::StrCat(edge.name, " forward")});
    channels.push_back({edge.destination, edge.source, absl::StrCat(edge.name, " backward")});
  }
  for (const bool evaluate : {false, true}) {
    std::vector<CheckedProgram> programs;
    for (const RankClass& ranks : plan.classes) {
      programs.push_back({.name = plan.ClassName(ranks),
                          .stages = ranks.stages,
                          .ops = evaluate ? ranks.evaluate : ranks.train});
      HETERO_RETURN_IF_ERROR(
          CheckOrder(programs.back().ops, [&](const Op& op) { return plan.OpName(op); }));
    }
    HETERO_RETURN_IF_ERROR(CheckProgress(programs, channels, plan.transfer_model));
    HETERO_RETURN_IF_ERROR(CheckTransfers(programs, channels));
  }
  return absl::OkStatus();
}

class PlanBuilder {
 public:
  PlanBuilder(const Layout& layout, const Model& model, const ScheduleOptions& schedule)
      : layout_(layout),
        model_(model),
        schedule_(schedule),
        owner_(model.graph().SampleOwner().name) {}

  absl::StatusOr<StepPlan> Build(int64_t micro_batch_size, int64_t global_batch_size) && {
    HETERO_RETURN_IF_ERROR(CheckSizes(micro_batch_size, global_batch_size));
    std::vector<std::string> grids;
    for (const Grid& grid : layout_.grids()) grids.push_back(grid.name());
    HETERO_RETURN_IF_ERROR(ViolationsError(CheckModules(grids, model_.graph().ModuleNames())));
    if (schedule_.balance_images) {
      const std::optional<std::string> encoder = ImageEncoder(model_.graph());
      if (!encoder.has_value()) {
        return absl::InvalidArgumentError(
            "images cannot be balanced: the model has no encoder of images");
      }
      plan_.balanced_module = *encoder;
    }
    plan_.placement = layout_.placement();
    plan_.sample_owner = owner_;
    plan_.num_owner_lanes = layout_.Find(owner_)->num_lanes();
    plan_.batch = {.global_batch_size = global_batch_size,
                   .samples_per_microbatch = micro_batch_size * plan_.num_owner_lanes};
    HETERO_RETURN_IF_ERROR(data::Validate(plan_.batch));
    HETERO_RETURN_IF_ERROR(ViolationsError(
        CheckChunks(layout_, owner_, schedule_.pipeline_chunks, plan_.batch, "global_batch_size")));
    HETERO_RETURN_IF_ERROR(AddStages(layout_, model_, schedule_.pipeline_chunks, plan_));
    AddClasses(layout_, plan_);
    HETERO_RETURN_IF_ERROR(Schedule());
    for (RankClass& ranks : plan_.classes) {
      ranks.train = MakeProgram(ranks.stages, /*evaluate=*/false);
      ranks.evaluate = MakeProgram(ranks.stages, /*evaluate=*/true);
    }
    const bool synchronous =
        plan_.placement != Placement::kColocated && RunAhead() == 0 && !interleaved();
    plan_.run_ahead = RunAhead();
    plan_.transfer_model = synchronous ? TransferModel::kSynchronous : TransferModel::kChannels;
    HETERO_RETURN_IF_ERROR(Check(plan_));
    return std::move(plan_);
  }

 private:
  bool interleaved() const { return schedule_.pipeline_chunks > 1; }

  // What is posted ahead is never more than a step has.
  int RunAhead() const {
    if (plan_.placement == Placement::kColocated) return 0;
    return std::min(schedule_.encoder_run_ahead, plan_.num_microbatches());
  }

  absl::Status CheckSizes(int64_t micro, int64_t global) const {
    for (const auto& [name, value, least] :
         {std::tuple("micro_batch_size", micro, 1), std::tuple("global_batch_size", global, 1),
          std::tuple("encoder_run_ahead", int64_t{schedule_.encoder_run_ahead}, 0),
          std::tuple("pipeline_chunks", int64_t{schedule_.pipeline_chunks}, 1)}) {
      if (value >= least && value <= kMaxPlanned) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is ", value, ", must be from ", least, " to ", kMaxPlanned,
                       "; nearest: ", value < least ? least : kMaxPlanned));
    }
    return absl::OkStatus();
  }

  bool Interleaves(const PlanStage& stage) const { return interleaved() && stage.module == owner_; }

  InterleavedPlace PlaceOf(const PlanStage& stage) const {
    return {.num_ranks = stage.place.num_stages / schedule_.pipeline_chunks,
            .rank = static_cast<int>(stage.pipeline_rank),
            .num_chunks = schedule_.pipeline_chunks};
  }

  // Whether a stage goes one forward, one backward with its neighbours, and does not take turns
  // with other stages of its ranks.
  bool InPipeline(const PlanStage& stage) const {
    if (Interleaves(stage) || plan_.sharing() == Sharing::kAlternating) return false;
    return plan_.sharing() == Sharing::kAlone || stage.module == owner_;
  }

  // Warm-ups, weight delays and slots of all stages.
  absl::Status Schedule() {
    const int m = plan_.num_microbatches();
    std::vector<StageNode> nodes;
    int first_interleaved = -1;
    for (int s = 0; s < std::ssize(plan_.stages); ++s) {
      const PlanStage& stage = plan_.stages[s];
      StageNode& node = nodes.emplace_back(StageNode{.name = stage.name(), .consumers = {}});
      if (Interleaves(stage)) {
        if (stage.place.first()) first_interleaved = s;
        continue;
      }
      for (int edge : stage.out_edges) node.consumers.push_back(plan_.edges[edge].destination);
    }
    HETERO_ASSIGN_OR_RETURN(const std::vector<int> warmups, MakeWarmups(nodes));
    // The first of the interleaved stages holds as many microbatches as if so many others came
    // behind it.
    int behind = 0;
    if (first_interleaved >= 0) {
      behind = InterleavedSlots(PlaceOf(plan_.stages[first_interleaved]), m).front() - 1;
    }
    int longest = 0;
    for (int s = 0; s < std::ssize(plan_.stages); ++s) {
      PlanStage& stage = plan_.stages[s];
      stage.warmup = Interleaves(stage) ? InterleavedSlots(PlaceOf(stage), m)[stage.chunk] - 1
                                        : warmups[s] + behind;
      if (InPipeline(stage)) longest = std::max(longest, stage.warmup);
    }
    for (PlanStage& stage : plan_.stages) {
      stage.selective_recompute =
          stage.runs_backward && std::ranges::find(schedule_.selective_recompute, stage.module) !=
                                     schedule_.selective_recompute.end();
      if (schedule_.split_backward && stage.trains) {
        stage.weight_delay = InPipeline(stage) ? longest - stage.warmup : 0;
      }
      const bool source = stage.in_edges.empty() && !stage.out_edges.empty();
      if (source && !Interleaves(stage)) stage.warmup += RunAhead();
      stage.num_slots = NumSlots(stage);
    }
    return absl::OkStatus();
  }

  int NumSlots(const PlanStage& stage) const {
    const int m = plan_.num_microbatches();
    if (plan_.sharing() == Sharing::kAlternating) return 1;
    if (plan_.sharing() == Sharing::kPhased && stage.module != owner_) return m;
    return std::min(m, stage.warmup + 1 + stage.weight_delay.value_or(0));
  }

  std::vector<Op> MakeProgram(std::span<const int> stages, bool evaluate) const {
    std::vector<StageWork> works;
    for (const int s : stages) works.push_back(WorkOf(plan_, s, evaluate));
    std::vector<Op> program;
    switch (plan_.sharing()) {
      case Sharing::kAlone: {
        const int receives_ahead = std::max(RunAhead(), interleaved() ? 1 : 0);
        const PlanStage& first = plan_.stages[stages.front()];
        CHECK(works.size() == 1 || Interleaves(first));
        program = Interleaves(first) ? MakeInterleavedProgram(works, PlaceOf(first), receives_ahead)
                                     : MakePipelineProgram(works.front(), receives_ahead);
        break;
      }
      case Sharing::kAlternating:
        program = MakeAlternatingProgram(works);
        break;
      case Sharing::kPhased:
        program = MakePhasedProgram(works);
        break;
    }
    if (evaluate) return program;
    const auto each_stage = [&](OpKind kind) {
      for (const int s : stages) {
        program.push_back({.kind = kind, .stage = s, .chunk = plan_.stages[s].chunk});
      }
    };
    each_stage(OpKind::kReduceGradients);
    program.push_back({.kind = OpKind::kUpdate});
    each_stage(OpKind::kGatherParameters);
    each_stage(OpKind::kFinishStep);
    return program;
  }

  const Layout& layout_;
  const Model& model_;
  const ScheduleOptions& schedule_;
  const std::string& owner_;  // the module that owns the samples
  StepPlan plan_;
};

}  // namespace

absl::StatusOr<StepPlan> MakePlan(const Layout& layout, const Model& model,
                                  int64_t micro_batch_size, int64_t global_batch_size,
                                  const ScheduleOptions& schedule) {
  return PlanBuilder(layout, model, schedule).Build(micro_batch_size, global_batch_size);
}

}  // namespace hetero
