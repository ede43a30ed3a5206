#include "hetero/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {
namespace {

// Keeps the clip factor finite where the norm is next to nothing.
constexpr double kNormEpsilon = 1e-6;

}  // namespace

absl::StatusOr<std::unique_ptr<Optimizer>> Optimizer::Create(
    const LearningRateSchedule& schedule, double clip_gradient_norm,
    std::vector<std::string> modules, std::vector<ModuleOptimizer*> local, Communicator* control,
    int64_t num_addends, Device device, MemoryLedger& ledger) {
  if (!(clip_gradient_norm >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("clip_gradient_norm is ", clip_gradient_norm,
                                                   ", must be above 0, or 0 for none; nearest: 0"));
  }
  auto optimizer = std::unique_ptr<Optimizer>(new Optimizer(
      schedule, clip_gradient_norm, std::move(modules), std::move(local), control, num_addends));
  const std::vector<std::string>& names = optimizer->modules_;
  for (const ModuleOptimizer* module : optimizer->local_) {
    const auto found = std::ranges::find(names, module->name());
    if (found == names.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("module ", module->name(),
                       " is not among those of the run: ", absl::StrJoin(names, ", ")));
    }
    optimizer->local_index_.push_back(found - names.begin());
  }
  const int64_t num_totals = 2 * static_cast<int64_t>(names.size()) + 1 + num_addends;
  HETERO_ASSIGN_OR_RETURN(
      optimizer->buffer_,
      Buffer::Allocate(device, MemoryLabel::kOptimizer, num_totals * SizeOf(DType::kF64), ledger));
  optimizer->totals_ = optimizer->buffer_.View(DType::kF64, {num_totals});
  return optimizer;
}

absl::StatusOr<StepReport> Optimizer::Step(const StepInputs& inputs, Stream& stream) {
  if (static_cast<int64_t>(inputs.addends.size()) != num_addends_) {
    return absl::InvalidArgumentError(
        absl::StrCat("the step has ", inputs.addends.size(), " addends; expected ", num_addends_));
  }
  HETERO_RETURN_IF_ERROR(Fill(0, totals_, stream));
  for (size_t i = 0; i < local_.size(); ++i) {
    HETERO_RETURN_IF_ERROR(local_[i]->AddStatistics(totals_.Rows(2 * local_index_[i], 2), stream));
  }
  if (!stream.shape_only()) {
    const std::span<double> totals = totals_.values<double>();
    const size_t tokens = 2 * modules_.size();
    totals[tokens] = static_cast<double>(inputs.tokens);
    std::ranges::copy(inputs.addends, totals.begin() + static_cast<int64_t>(tokens) + 1);
  }
  if (control_ != nullptr) {
    HETERO_RETURN_IF_ERROR(
        control_->AllReduce(totals_, totals_, ReduceOp::kSum, stream, "optimizer.totals"));
  }
  StepReport report;
  if (!stream.shape_only()) report = Decide(totals_.values<double>());
  const AdamWUpdate update = {
      .apply = report.outcome == StepOutcome::kApplied,
      .step = progress_.applied_steps + 1,
      .learning_rate = report.learning_rate,
      .gradient_scale =
          report.clip_factor / static_cast<double>(std::max<int64_t>(1, report.tokens))};
  for (ModuleOptimizer* module : local_) {
    HETERO_RETURN_IF_ERROR(module->Apply(update, stream));
  }
  if (!stream.shape_only()) Advance(report.outcome, inputs.samples);
  return report;
}

StepReport Optimizer::Decide(std::span<const double> totals) const {
  const size_t tokens = 2 * modules_.size();
  StepReport report = {.learning_rate = schedule_.At(progress_.consumed_samples),
                       .tokens = static_cast<int64_t>(totals[tokens])};
  const double divisor = std::max(1.0, totals[tokens]);
  double squares = 0;
  double non_finite = 0;
  for (size_t i = 0; i < modules_.size(); ++i) {
    report.module_norms.push_back(std::sqrt(totals[2 * i]) / divisor);
    squares += totals[2 * i];
    non_finite += totals[2 * i + 1];
  }
  report.gradient_norm = std::sqrt(squares) / divisor;
  report.non_finite_gradients = static_cast<int64_t>(non_finite);
  if (clip_gradient_norm_ > 0) {
    report.clip_factor = std::min(1.0, clip_gradient_norm_ / (report.gradient_norm + kNormEpsilon));
  }
  report.sums.assign(totals.begin() + static_cast<int64_t>(tokens) + 1, totals.end());
  if (report.non_finite_gradients > 0) {
    report.outcome = StepOutcome::kNonFinite;
  } else if (report.tokens == 0) {
    report.outcome = StepOutcome::kNoTokens;
  }
  return report;
}

void Optimizer::Advance(StepOutcome outcome, int64_t samples) {
  switch (outcome) {
    case StepOutcome::kApplied:
      ++progress_.applied_steps;
      progress_.consumed_samples += samples;
      break;
    case StepOutcome::kNonFinite:
      ++progress_.skipped_non_finite;
      break;
    case StepOutcome::kNoTokens:
      ++progress_.skipped_no_tokens;
      break;
  }
}

}  // namespace hetero
