#include "hetero/trainer/rank_trainer.h"

#include <array>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/spans.h"

namespace hetero {
namespace {

// Sums over the world that travel with the optimizer's reduction.
enum Addend : size_t { kLossSum, kBalanceLoss, kBalanceTerms, kStop, kNumAddends };

constexpr int64_t kNumEvaluationTotals = 4;

}  // namespace

absl::StatusOr<std::unique_ptr<RankTrainer>> RankTrainer::Create(
    EngineOptions options, const OptimizerSettings& settings) {
  auto trainer = std::unique_ptr<RankTrainer>(new RankTrainer(settings.schedule));
  trainer->samples_per_step_ = options.train.batch.global_batch_size;
  const Layout& layout = options.layout;
  const GlobalRank rank = options.rank;
  const Device device = options.device;
  CommunicatorFactory& factory = options.factory;
  std::vector<std::string> modules = options.model.modules();
  HETERO_ASSIGN_OR_RETURN(trainer->engine_, Engine::Create(std::move(options)));
  if (layout.world_size() > 1) {
    Group world;
    for (int64_t r = 0; r < layout.world_size(); ++r) world.push_back(GlobalRank(r));
    HETERO_ASSIGN_OR_RETURN(trainer->control_, factory.Create({"control", std::move(world)}));
  }
  MemoryLedger& ledger = trainer->engine_->ledger();
  std::vector<ModuleOptimizer*> local;
  for (Engine::OwnStage& own : trainer->engine_->stages()) {
    trainer->gradient_syncs_.emplace_back(
        own.grid->name(), *own.parameters,
        GradientGroups{.dense = own.data_parallel.get(), .expert = own.expert_data_parallel.get()});
    HETERO_ASSIGN_OR_RETURN(
        std::unique_ptr<ModuleOptimizer> optimizer,
        ModuleOptimizer::Create(settings.adamw, *own.parameters, *own.grid, rank, device, ledger));
    local.push_back(optimizer.get());
    trainer->module_optimizers_.push_back(std::move(optimizer));
  }
  HETERO_ASSIGN_OR_RETURN(
      trainer->optimizer_,
      Optimizer::Create(settings.schedule, settings.clip_gradient_norm, std::move(modules),
                        std::move(local), trainer->control_.get(), kNumAddends, device, ledger));
  HETERO_ASSIGN_OR_RETURN(
      trainer->evaluation_totals_,
      Buffer::Allocate(device, MemoryLabel::kWorkspace, 8 * kNumEvaluationTotals, ledger));
  return trainer;
}

absl::StatusOr<StepResult> RankTrainer::Step(int64_t step, bool stop) {
  Stream& stream = engine_->stream();
  const Span span(engine_->spans(), "training step", "step");
  HETERO_RETURN_IF_ERROR(engine_->RunTraining(step));
  for (size_t i = 0; i < engine_->stages().size(); ++i) {
    Engine::OwnStage& own = engine_->stages()[i];
    const std::string name = absl::StrCat(own.name, " gradients");
    const Span sums(engine_->spans(), name, "gradients");
    HETERO_RETURN_IF_ERROR(own.parameters->FinishGradients(stream));
    HETERO_RETURN_IF_ERROR(gradient_syncs_[i].Run(stream));
    HETERO_RETURN_IF_ERROR(own.stage->FinishStep(own.data_parallel.get(), stream));
  }
  HETERO_ASSIGN_OR_RETURN(const StageStatistics statistics, TakeStatistics());
  std::array<double, kNumAddends> addends = {};
  addends[kLossSum] = statistics.loss_sum;
  addends[kBalanceLoss] = statistics.balance_loss;
  addends[kBalanceTerms] = static_cast<double>(statistics.balance_terms);
  addends[kStop] = stop ? 1 : 0;
  StepResult result;
  const Span update(engine_->spans(), "optimizer", "optimizer");
  HETERO_ASSIGN_OR_RETURN(result.report, optimizer_->Step({.samples = samples_per_step_,
                                                           .tokens = statistics.loss_tokens,
                                                           .addends = addends},
                                                          stream));
  if (stream.shape_only()) return result;
  const std::vector<double>& sums = result.report.sums;
  result.lm_loss_sum = sums[kLossSum];
  result.has_balance_loss = sums[kBalanceTerms] > 0;
  if (result.has_balance_loss) result.balance_loss = sums[kBalanceLoss] / sums[kBalanceTerms];
  result.stop_requested = sums[kStop] > 0;
  return result;
}

absl::StatusOr<EvaluationResult> RankTrainer::Evaluate(int64_t num_steps) {
  Stream& stream = engine_->stream();
  const Span span(engine_->spans(), "evaluation", "evaluation");
  for (int64_t step = 0; step < num_steps; ++step) {
    HETERO_RETURN_IF_ERROR(engine_->RunEvaluation(step));
  }
  HETERO_ASSIGN_OR_RETURN(const StageStatistics statistics, TakeStatistics());
  const TensorView totals = evaluation_totals_.View(DType::kF64, {kNumEvaluationTotals});
  if (!stream.shape_only()) {
    const std::span<double> values = totals.values<double>();
    values[0] = statistics.loss_sum;
    values[1] = static_cast<double>(statistics.loss_tokens);
    values[2] = static_cast<double>(statistics.sequences);
    values[3] = static_cast<double>(statistics.exact_matches);
  }
  if (control_ != nullptr) {
    HETERO_RETURN_IF_ERROR(
        control_->AllReduce(totals, totals, ReduceOp::kSum, stream, "evaluation.totals"));
  }
  if (stream.shape_only()) return EvaluationResult{};
  const std::span<const double> values = totals.values<double>();
  return EvaluationResult{.lm_loss_sum = values[0],
                          .tokens = static_cast<int64_t>(values[1]),
                          .sequences = static_cast<int64_t>(values[2]),
                          .exact_matches = static_cast<int64_t>(values[3])};
}

absl::StatusOr<StageStatistics> RankTrainer::TakeStatistics() {
  StageStatistics total;
  for (Engine::OwnStage& own : engine_->stages()) {
    HETERO_ASSIGN_OR_RETURN(const StageStatistics part,
                            own.stage->TakeStatistics(engine_->stream()));
    total.loss_sum += part.loss_sum;
    total.loss_tokens += part.loss_tokens;
    total.sequences += part.sequences;
    total.exact_matches += part.exact_matches;
    total.balance_loss += part.balance_loss;
    total.balance_terms += part.balance_terms;
  }
  return total;
}

}  // namespace hetero
