#include "hetero/trainer/step/rank_trainer.h"

#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

absl::Status RefuseInvalidIds(std::span<const double> sums) {
  if (sums[kStageInvalidIds] == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(sums[kStageInvalidIds],
                   " token ids or targets are outside the model's vocabulary; the step was not "
                   "applied"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankTrainer>> RankTrainer::Create(
    EngineOptions options, const OptimizerSettings& settings) {
  auto trainer = std::unique_ptr<RankTrainer>(new RankTrainer(settings.schedule));
  trainer->samples_per_step_ = options.train.batch.global_batch_size;
  const Layout& layout = options.layout;
  const GlobalRank rank = options.rank;
  const Device device = options.device;
  CommunicatorFactory& factory = options.factory;
  std::vector<std::string> modules = options.model.graph().ModuleNames();
  trainer->num_totals_ = options.model.graph().num_totals;
  trainer->minimized_ = options.model.graph().metrics.front().numerator;
  HETERO_ASSIGN_OR_RETURN(trainer->engine_, Engine::Create(std::move(options)));
  if (layout.world_size() > 1) {
    Group world;
    for (int64_t r = 0; r < layout.world_size(); ++r) world.push_back(GlobalRank(r));
    HETERO_ASSIGN_OR_RETURN(trainer->control_, factory.Create({"control", std::move(world)}));
  }
  MemoryLedger& ledger = trainer->engine_->ledger();
  std::vector<ModuleOptimizer*> local;
  for (Engine::OwnStage& own : trainer->engine_->stages()) {
    HETERO_ASSIGN_OR_RETURN(
        GradientCommunicators gradients,
        MakeGradientCommunicators(own.name, *own.grid, *own.parameters, rank, factory));
    trainer->gradient_syncs_.emplace_back(own.grid->name(), *own.parameters, gradients.groups);
    trainer->gradients_.push_back(std::move(gradients));
    HETERO_ASSIGN_OR_RETURN(
        std::unique_ptr<ModuleOptimizer> optimizer,
        ModuleOptimizer::Create(settings.adamw, *own.parameters, *own.grid, rank, device, ledger));
    HETERO_RETURN_IF_ERROR(optimizer->LoadMasters(trainer->engine_->stream()));
    local.push_back(optimizer.get());
    trainer->module_optimizers_.push_back(std::move(optimizer));
  }
  HETERO_ASSIGN_OR_RETURN(
      trainer->optimizer_,
      Optimizer::Create(settings.schedule, settings.clip_gradient_norm, std::move(modules),
                        std::move(local), trainer->control_.get(), trainer->num_totals_, device,
                        ledger));
  HETERO_ASSIGN_OR_RETURN(trainer->totals_,
                          Buffer::Allocate(device, MemoryLabel::kWorkspace,
                                           trainer->num_totals_ * SizeOf(DType::kF64), ledger));
  return trainer;
}

absl::Status RankTrainer::TakeTotals(const TensorView& totals) {
  Stream& stream = engine_->stream();
  HETERO_RETURN_IF_ERROR(Fill(0, totals, stream));
  for (Engine::OwnStage& own : engine_->stages()) {
    HETERO_RETURN_IF_ERROR(own.stage->TakeTotals(totals, stream));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RankTrainer::AnyStop(bool requested) {
  if (control_ == nullptr) return requested;
  double any = requested ? 1 : 0;
  const TensorView view(&any, DType::kF64, {1});
  HETERO_RETURN_IF_ERROR(control_->AllReduce(view, view, ReduceOp::kMax, host_stream_, "stop"));
  return any != 0;
}

absl::Status RankTrainer::Queue(int64_t step) {
  const Span span(engine_->spans(), "training step", "step");
  return engine_->RunTraining(step, [this](const Op& op) { return Finish(op); });
}

absl::Status RankTrainer::Finish(const Op& op) {
  if (op.kind == OpKind::kUpdate) return Update();
  Stream& stream = engine_->stream();
  const int i = engine_->OwnIndex(op.stage);
  Engine::OwnStage& own = engine_->stages()[i];
  if (op.kind == OpKind::kFinishStep) {
    return own.stage->FinishStep(optimizer_->decisions(), stream);
  }
  HETERO_RETURN_IF_ERROR(own.parameters->FinishGradients(stream));
  return gradient_syncs_[i].Run(stream);
}

absl::Status RankTrainer::Update() {
  Stream& stream = engine_->stream();
  const TensorView totals = totals_.View(DType::kF64, {num_totals_});
  HETERO_RETURN_IF_ERROR(TakeTotals(totals));
  return optimizer_->Queue({.samples = samples_per_step_,
                            .tokens = totals.Rows(kStageLossWeight, 1),
                            .faults = totals.Rows(kStageInvalidIds, 1),
                            .addends = totals},
                           stream);
}

absl::StatusOr<StepResult> RankTrainer::Result() {
  StepResult result;
  HETERO_ASSIGN_OR_RETURN(result.report, optimizer_->Report());
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
    HETERO_ASSIGN_OR_RETURN(const bool stop, AnyStop(stop_requested()));
    if (stop) return std::nullopt;
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
