#include "hetero/trainer/step/rank_trainer.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/trainer/step/shard_spec.h"

namespace hetero {
namespace {

absl::Status RefuseInvalidIds(std::span<const double> sums) {
  if (sums[kStageInvalidIds] == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(sums[kStageInvalidIds],
                   " token ids or targets are outside the model's vocabulary; the step was not "
                   "applied"));
}

// Whose gradients and parameters the whole run knows.
absl::StatusOr<std::vector<OptimizedModule>> ModulesOf(const EngineOptions& options,
                                                       const OptimizerSettings& settings) {
  std::vector<OptimizedModule> modules;
  for (const GraphModule& module : options.model.graph().modules) {
    OptimizedModule optimized{.name = module.name,
                              .clip_share = settings.modules.at(module.name).clip_share};
    const auto stage = std::ranges::find(options.train.stages, module.name, &PlanStage::module);
    const ShardSpec all_stages{.pp = {.rank = 0, .size = stage->place.num_stages}};
    HETERO_ASSIGN_OR_RETURN(const ParameterTable table,
                            options.model.MakeTable(module.name, all_stages));
    optimized.parameters = table.TrainedNames();
    optimized.groups = GroupsOf(table);
    if (settings.correct_partial_participation && !module.owns_samples) {
      optimized.corrected_ranks = options.layout.Find(module.name)->num_lanes();
    }
    modules.push_back(std::move(optimized));
  }
  return modules;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankTrainer>> RankTrainer::Create(
    EngineOptions options, const OptimizerSettings& settings) {
  auto trainer = std::unique_ptr<RankTrainer>(new RankTrainer(settings.schedule));
  trainer->batch_ = options.train.batch;
  trainer->corrects_ = settings.correct_partial_participation;
  trainer->num_totals_ = options.model.graph().num_totals;
  trainer->minimized_ = options.model.graph().metrics.front().numerator;
  options.buckets = [&settings](std::string_view module) {
    return settings.modules.at(module).buckets;
  };
  const EngineOptions kept = options;
  HETERO_ASSIGN_OR_RETURN(trainer->engine_, Engine::Create(std::move(options)));
  HETERO_RETURN_IF_ERROR(trainer->MakeOptimizers(kept, settings));
  HETERO_ASSIGN_OR_RETURN(
      trainer->totals_,
      Buffer::Allocate(kept.device, MemoryLabel::kWorkspace,
                       trainer->num_totals_ * SizeOf(DType::kF64), trainer->engine_->ledger()));
  return trainer;
}

absl::Status RankTrainer::MakeOptimizers(const EngineOptions& options,
                                         const OptimizerSettings& settings) {
  const Layout& layout = options.layout;
  const GlobalRank rank = options.rank;
  if (layout.world_size() > 1) {
    Group world;
    for (int64_t r = 0; r < layout.world_size(); ++r) world.push_back(GlobalRank(r));
    HETERO_ASSIGN_OR_RETURN(
        control_, options.factory.Create({"control", std::move(world)}, CollectivesOnly()));
  }
  MemoryLedger& ledger = engine_->ledger();
  Stream& stream = engine_->stream();
  HETERO_ASSIGN_OR_RETURN(side_, SideStream::Create(stream));
  std::vector<ModuleOptimizer*> local;
  for (Engine::OwnStage& own : engine_->stages()) {
    const ModuleOptimizerOptions& of_module = settings.modules.at(own.grid->name());
    HETERO_ASSIGN_OR_RETURN(
        GradientCommunicators gradients,
        MakeGradientCommunicators(own.name, *own.grid, *own.parameters, rank, options.factory));
    HETERO_ASSIGN_OR_RETURN(
        std::unique_ptr<BucketTraffic> traffic,
        BucketTraffic::Create(own.name, *own.parameters, gradients.groups,
                              {.overlap_gradient_reduce = of_module.overlap_gradient_reduce,
                               .overlap_parameter_gather = of_module.overlap_parameter_gather},
                              *side_, options.device, ledger));
    own.traffic = traffic.get();
    traffic_.push_back(std::move(traffic));
    gradients_.push_back(std::move(gradients));
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<ModuleOptimizer> optimizer,
                            ModuleOptimizer::Create(of_module, *own.parameters, *own.grid, rank,
                                                    options.device, ledger));
    HETERO_RETURN_IF_ERROR(optimizer->LoadMasters(stream));
    local.push_back(optimizer.get());
    module_optimizers_.push_back(std::move(optimizer));
    holdings_.push_back(
        {.shard = ShardSpecOf(*own.grid, rank, options.train.stages[own.index].place),
         .dense_is_first = own.grid->GroupOf(Family::kDpCp, rank)->front() == rank,
         .experts_are_first = own.grid->GroupOf(Family::kExptDp, rank)->front() == rank});
    counts_input_.push_back(options.train.stages[own.index].place.first() &&
                            own.grid->Coord(rank, Axis::kTp) == 0);
  }
  participants_.resize(local.size());
  HETERO_ASSIGN_OR_RETURN(std::vector<OptimizedModule> modules, ModulesOf(options, settings));
  if (settings.parameters_norm) {
    size_t most = 0;
    for (const OptimizedModule& module : modules) most = std::max(most, module.parameters.size());
    HETERO_ASSIGN_OR_RETURN(
        norm_, ParameterNorm::Create(module_optimizers_, control_.get(), static_cast<int64_t>(most),
                                     stream, ledger));
  }
  HETERO_ASSIGN_OR_RETURN(optimizer_,
                          Optimizer::Create({.learning_rate = settings.schedule,
                                             .weight_decay = settings.weight_decay,
                                             .clip_gradient_norm = settings.clip_gradient_norm,
                                             .modules = std::move(modules),
                                             .num_addends = num_totals_},
                                            std::move(local), control_.get(), stream, ledger));
  return absl::OkStatus();
}

absl::Status RankTrainer::TakeTotals(const TensorView& totals) {
  Stream& stream = engine_->stream();
  HETERO_RETURN_IF_ERROR(Fill(0, totals, stream));
  for (Engine::OwnStage& own : engine_->stages()) {
    HETERO_RETURN_IF_ERROR(own.stage->TakeTotals(totals, stream));
  }
  return absl::OkStatus();
}

absl::StatusOr<Wishes> RankTrainer::AnyOf(const Wishes& own) {
  double any[] = {own.stop ? 1.0 : 0.0, own.save ? 1.0 : 0.0, own.busy ? 1.0 : 0.0};
  HETERO_RETURN_IF_ERROR(Combine(any, ReduceOp::kMax, "wishes"));
  return Wishes{.stop = any[0] != 0, .save = any[1] != 0, .busy = any[2] != 0};
}

absl::Status RankTrainer::Combine(std::span<double> values, ReduceOp op, std::string_view what) {
  if (control_ == nullptr) return absl::OkStatus();
  const TensorView view(values.data(), DType::kF64, {std::ssize(values)});
  return control_->AllReduce(view, view, op, host_stream_, what);
}

absl::Status RankTrainer::PassOverBadSamples(Split split, int64_t step) {
  if (!on_bad_samples_) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(std::vector<int64_t> own, engine_->BadSamples(split, step));
  std::vector<int64_t> all;
  for (;;) {
    // Exact below 2^53.
    double largest[] = {own.empty() ? -1 : static_cast<double>(own.back())};
    HETERO_RETURN_IF_ERROR(Combine(largest, ReduceOp::kMax, "bad samples"));
    const auto next = static_cast<int64_t>(largest[0]);
    if (next < 0) break;
    all.push_back(next);
    if (!own.empty() && own.back() == next) own.pop_back();
  }
  if (all.empty()) return absl::OkStatus();
  std::ranges::reverse(all);
  HETERO_RETURN_IF_ERROR(on_bad_samples_(split, all));
  engine_->ReadAnew(split);
  return absl::OkStatus();
}

absl::Status RankTrainer::AwaitWeights() {
  for (const std::unique_ptr<BucketTraffic>& traffic : traffic_) {
    HETERO_RETURN_IF_ERROR(traffic->AllNeeded());
  }
  return absl::OkStatus();
}

absl::Status RankTrainer::Queue(int64_t step) {
  const Span span(engine_->spans(), "training step", "step");
  HETERO_RETURN_IF_ERROR(PassOverBadSamples(Split::kTrain, step));
  step_ = step;
  tell_norm_.push_back(false);
  return engine_->RunTraining(step, [this](const Op& op) { return Finish(op); });
}

absl::Status RankTrainer::QueueNorm() {
  tell_norm_.back() = true;
  return norm_->Queue();
}

absl::Status RankTrainer::CountConstants() { return norm_->CountConstants(holdings_); }

absl::Status RankTrainer::Finish(const Op& op) {
  if (op.kind == OpKind::kUpdate) return Update();
  const int i = engine_->OwnIndex(op.stage);
  Engine::OwnStage& own = engine_->stages()[i];
  switch (op.kind) {
    case OpKind::kReduceGradients:
      return traffic_[i]->Reduce();
    case OpKind::kGatherParameters:
      return traffic_[i]->Gather();
    default:
      return own.stage->FinishStep(optimizer_->decisions(i), engine_->stream());
  }
}

std::span<const double> RankTrainer::Participants() {
  if (!corrects_) return {};
  for (size_t i = 0; i < participants_.size(); ++i) {
    const bool took_part = std::exchange(engine_->stages()[i].read_media, false);
    participants_[i] = took_part && counts_input_[i] ? 1 : 0;
  }
  return participants_;
}

absl::Status RankTrainer::Update() {
  if (before_update_) before_update_();
  const TensorView totals = totals_.View(DType::kF64, {num_totals_});
  HETERO_RETURN_IF_ERROR(TakeTotals(totals));
  return optimizer_->Queue({.samples = batch_.SizeOf(step_),
                            .participants = Participants(),
                            .tokens = totals.Rows(kStageLossWeight, 1),
                            .faults = totals.Rows(kStageInvalidIds, 1),
                            .addends = totals});
}

absl::StatusOr<StepResult> RankTrainer::Result() {
  StepResult result;
  HETERO_ASSIGN_OR_RETURN(result.report, optimizer_->Report());
  const bool tell_norm = tell_norm_.front();
  tell_norm_.pop_front();
  if (tell_norm) {
    HETERO_ASSIGN_OR_RETURN(result.params_norm, norm_->Read());
  }
  const std::vector<double>& sums = result.report.sums;
  if (sums.empty()) return result;
  HETERO_RETURN_IF_ERROR(RefuseInvalidIds(sums));
  result.minimized = sums[minimized_];
  return result;
}

absl::StatusOr<std::optional<EvaluationResult>> RankTrainer::Evaluate(
    int64_t num_steps, absl::FunctionRef<bool()> stop_requested) {
  Stream& stream = engine_->stream();
  const Span span(engine_->spans(), "evaluation", "evaluation");
  for (int64_t step = 0; step < num_steps; ++step) {
    HETERO_ASSIGN_OR_RETURN(const Wishes wishes, AnyOf({.stop = stop_requested()}));
    if (wishes.stop) return std::nullopt;
    HETERO_RETURN_IF_ERROR(PassOverBadSamples(Split::kEvaluate, step));
    HETERO_RETURN_IF_ERROR(engine_->RunEvaluation(step));
  }
  const TensorView totals = totals_.View(DType::kF64, {num_totals_});
  HETERO_RETURN_IF_ERROR(TakeTotals(totals));
  if (control_ != nullptr) {
    HETERO_RETURN_IF_ERROR(
        control_->AllReduce(totals, totals, ReduceOp::kSum, stream, "evaluation.totals"));
  }
  std::vector<double> sums(num_totals_);
  HETERO_RETURN_IF_ERROR(
      CopyToHost(totals, TensorView(sums.data(), DType::kF64, {num_totals_}), stream));
  HETERO_RETURN_IF_ERROR(stream.Synchronize());
  HETERO_RETURN_IF_ERROR(RefuseInvalidIds(sums));
  return EvaluationResult{.sums = std::move(sums)};
}

}  // namespace hetero
