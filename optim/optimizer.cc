#include "hetero/optim/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"
#include "hetero/tensor/ops/update_decision/update_decision.h"
#include "hetero/tensor/validate.h"

namespace hetero {

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
  const int64_t num_totals = 2 * optimizer->num_modules() + 2 + num_addends;
  // Behind the totals what DecideUpdate takes, zero where nothing sets it, and decides: rows that
  // are alike.
  const int64_t num_all =
      num_totals +
      optimizer->num_modules() * (1 + kNumModuleStatistics + kNumModuleRules + kNumUpdateDecisions);
  const int64_t num_bytes = num_all * SizeOf(DType::kF64);
  HETERO_ASSIGN_OR_RETURN(optimizer->buffer_,
                          Buffer::Allocate(device, MemoryLabel::kOptimizer, num_bytes, ledger));
  HETERO_ASSIGN_OR_RETURN(optimizer->staging_, PinnedBuffer::Allocate(device, num_bytes));
  HETERO_ASSIGN_OR_RETURN(optimizer->read_, Event::Create(device));
  optimizer->all_ = optimizer->buffer_.View(DType::kF64, {num_all});
  optimizer->totals_ = optimizer->all_.Rows(0, num_totals);
  optimizer->decisions_ = optimizer->all_.Rows(num_all - kNumUpdateDecisions, kNumUpdateDecisions);
  return optimizer;
}

absl::Status Optimizer::Queue(const StepInputs& inputs, Stream& stream) {
  if (num_addends_ > 0 || !inputs.addends.is_null()) {
    HETERO_RETURN_IF_ERROR(ExpectDense("addends", inputs.addends, DType::kF64, {num_addends_}));
  }
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens", inputs.tokens, DType::kF64, {1}));
  HETERO_RETURN_IF_ERROR(Settle());
  const TensorView statistics = totals_.Rows(0, 2 * num_modules());
  const TensorView tokens = totals_.Rows(2 * num_modules(), 1);
  const TensorView faults = totals_.Rows(2 * num_modules() + 1, 1);
  HETERO_RETURN_IF_ERROR(Fill(0, statistics, stream));
  for (size_t i = 0; i < local_.size(); ++i) {
    HETERO_RETURN_IF_ERROR(
        local_[i]->AddStatistics(statistics.Rows(2 * local_index_[i], 2), stream));
  }
  HETERO_RETURN_IF_ERROR(Copy(inputs.tokens, tokens, stream));
  HETERO_RETURN_IF_ERROR(inputs.faults.is_null() ? Fill(0, faults, stream)
                                                 : Copy(inputs.faults, faults, stream));
  if (num_addends_ > 0) {
    HETERO_RETURN_IF_ERROR(
        Copy(inputs.addends, totals_.Rows(2 * num_modules() + 2, num_addends_), stream));
  }
  if (control_ != nullptr) {
    HETERO_RETURN_IF_ERROR(
        control_->AllReduce(totals_, totals_, ReduceOp::kSum, stream, "optimizer.totals"));
  }
  int64_t next = totals_.dim(0);
  const auto rows = [&](int64_t columns) {
    const TensorView view = all_.Rows(next, num_modules() * columns);
    next += view.dim(0);
    return view.Reshape({num_modules(), columns});
  };
  const TensorView non_finite = rows(1);
  const TensorView module_statistics = rows(kNumModuleStatistics);
  const TensorView rules = rows(kNumModuleRules);
  const TensorView sums = statistics.Reshape({num_modules(), 2});
  HETERO_RETURN_IF_ERROR(
      Copy(sums.Columns(0, 1), module_statistics.Columns(kModuleSquares, 1), stream));
  HETERO_RETURN_IF_ERROR(Copy(sums.Columns(1, 1), non_finite, stream));
  HETERO_RETURN_IF_ERROR(DecideUpdate({.statistics_MS = module_statistics,
                                       .non_finite_P = non_finite.Reshape({num_modules()}),
                                       .tokens_1 = tokens,
                                       .faults_1 = faults,
                                       .rules_M2 = rules,
                                       .max_norm = clip_gradient_norm_,
                                       .decisions_MD = rows(kNumUpdateDecisions)},
                                      stream));
  const double learning_rate = schedule_.At(progress_.consumed_samples);
  for (ModuleOptimizer* module : local_) {
    HETERO_RETURN_IF_ERROR(module->Apply({.step = progress_.applied_steps + 1,
                                          .learning_rate = learning_rate,
                                          .decisions = decisions_},
                                         stream));
  }
  HETERO_RETURN_IF_ERROR(CopyToHost(all_, staging_.View(DType::kF64, all_.dims()), stream));
  if (stream.shape_only()) {
    reports_.emplace_back();
    return absl::OkStatus();
  }
  HETERO_RETURN_IF_ERROR(read_.Record(stream));
  pending_ = {.samples = inputs.samples, .learning_rate = learning_rate};
  return absl::OkStatus();
}

absl::Status Optimizer::Settle() {
  if (!pending_.has_value()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(read_.Synchronize());
  reports_.push_back(Read(*pending_));
  Advance(reports_.back().outcome, pending_->samples);
  pending_.reset();
  return absl::OkStatus();
}

absl::StatusOr<StepReport> Optimizer::Report() {
  if (reports_.empty()) {
    CHECK(pending_.has_value());
    HETERO_RETURN_IF_ERROR(Settle());
  }
  StepReport report = std::move(reports_.front());
  reports_.pop_front();
  return report;
}

absl::StatusOr<StepReport> Optimizer::Step(const StepInputs& inputs, Stream& stream) {
  HETERO_RETURN_IF_ERROR(Queue(inputs, stream));
  return Report();
}

StepReport Optimizer::Read(const Pending& step) const {
  const TensorView host = staging_.View(DType::kF64, all_.dims());
  const std::span<const double> totals = host.values<double>();
  const std::span<const double> decisions = totals.last(kNumUpdateDecisions);
  const size_t tokens = 2 * modules_.size();
  // The device's norms leave out what is not finite, which they count.
  const auto norm_of = [](double finite_norm, double non_finite) {
    return non_finite > 0 ? std::numeric_limits<double>::quiet_NaN() : finite_norm;
  };
  StepReport report = {.learning_rate = step.learning_rate,
                       .clip_factor = decisions[kUpdateClipFactor],
                       .tokens = totals[tokens]};
  const double divisor = report.tokens > 0 ? report.tokens : 1;
  double non_finite = 0;
  for (size_t i = 0; i < modules_.size(); ++i) {
    report.module_norms.push_back(norm_of(std::sqrt(totals[2 * i]) / divisor, totals[2 * i + 1]));
    non_finite += totals[2 * i + 1];
  }
  report.gradient_norm = norm_of(decisions[kUpdateGradientNorm], non_finite);
  report.non_finite_gradients = static_cast<int64_t>(non_finite);
  const std::span<const double> sums = totals.subspan(tokens + 2, num_addends_);
  report.sums.assign(sums.begin(), sums.end());
  if (totals[tokens + 1] != 0) {
    report.outcome = StepOutcome::kFaulty;
  } else if (report.non_finite_gradients > 0) {
    report.outcome = StepOutcome::kNonFinite;
  } else if (!(report.tokens > 0)) {
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
    case StepOutcome::kFaulty:
      ++progress_.skipped_faulty;
      break;
  }
}

}  // namespace hetero
