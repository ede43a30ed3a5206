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
namespace {

// The device's sums leave out what is not finite, which it counts.
double NormOf(double finite_norm, double non_finite) {
  return non_finite > 0 ? std::numeric_limits<double>::quiet_NaN() : finite_norm;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Optimizer>> Optimizer::Create(OptimizerOptions options,
                                                             std::vector<ModuleOptimizer*> local,
                                                             Communicator* control, Stream& stream,
                                                             MemoryLedger& ledger) {
  if (!(options.clip_gradient_norm >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("clip_gradient_norm is ",
                                                   options.clip_gradient_norm,
                                                   ", must be above 0, or 0 for none; nearest: 0"));
  }
  auto optimizer = std::unique_ptr<Optimizer>(
      new Optimizer(std::move(options), std::move(local), control, stream));
  const std::vector<OptimizedModule>& modules = optimizer->options_.modules;
  optimizer->first_parameter_ = {0};
  for (const OptimizedModule& module : modules) {
    optimizer->first_parameter_.push_back(optimizer->first_parameter_.back() +
                                          std::ssize(module.parameters));
  }
  for (ModuleOptimizer* module : optimizer->local_) {
    const auto found = std::ranges::find(modules, module->name(), &OptimizedModule::name);
    if (found == modules.end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "module ", module->name(), " is not among those of the run: ",
          absl::StrJoin(modules, ", ", [](std::string* text, const OptimizedModule& of_run) {
            text->append(of_run.name);
          })));
    }
    HETERO_RETURN_IF_ERROR(module->NumberParameters(found->parameters));
    optimizer->local_index_.push_back(found - modules.begin());
  }
  HETERO_RETURN_IF_ERROR(optimizer->Allocate(ledger));
  HETERO_RETURN_IF_ERROR(optimizer->WriteRules());
  return optimizer;
}

Optimizer::Numbers Optimizer::Divide(const TensorView& all) const {
  int64_t begin = 0;
  const auto next = [&](int64_t count) {
    begin += count;
    return all.Rows(begin - count, count);
  };
  const int64_t m = num_modules();
  Numbers numbers{.all = all};
  numbers.statistics_MS = next(m * kNumModuleStatistics).Reshape({m, kNumModuleStatistics});
  numbers.non_finite_P = next(first_parameter_.back());
  numbers.tokens_1 = next(1);
  numbers.faults_1 = next(1);
  numbers.addends = next(options_.num_addends);
  numbers.totals = all.Rows(0, begin);
  numbers.decisions_MD = next(m * kNumUpdateDecisions).Reshape({m, kNumUpdateDecisions});
  numbers.rules_M2 = next(m * kNumModuleRules).Reshape({m, kNumModuleRules});
  return numbers;
}

absl::Status Optimizer::Allocate(MemoryLedger& ledger) {
  int64_t count = first_parameter_.back() + 2 + options_.num_addends;
  for (const int64_t per_module :
       {int64_t{kNumModuleStatistics}, int64_t{kNumUpdateDecisions}, int64_t{kNumModuleRules}}) {
    count += num_modules() * per_module;
  }
  const int64_t num_bytes = count * SizeOf(DType::kF64);
  const Device device = stream_.device();
  HETERO_ASSIGN_OR_RETURN(buffer_,
                          Buffer::Allocate(device, MemoryLabel::kOptimizer, num_bytes, ledger));
  HETERO_ASSIGN_OR_RETURN(staging_, PinnedBuffer::Allocate(device, num_bytes, ledger));
  HETERO_ASSIGN_OR_RETURN(read_, Event::Create(device));
  device_ = Divide(buffer_.View(DType::kF64, {count}));
  return absl::OkStatus();
}

absl::Status Optimizer::WriteRules() {
  for (int64_t m = 0; m < num_modules(); ++m) {
    const OptimizedModule& module = options_.modules[m];
    const TensorView rules = device_.rules_M2.At(m);
    HETERO_RETURN_IF_ERROR(Fill(module.clip_share, rules.Rows(kModuleClipShare, 1), stream_));
    HETERO_RETURN_IF_ERROR(Fill(static_cast<double>(module.corrected_ranks),
                                rules.Rows(kModuleDataParallelRanks, 1), stream_));
  }
  return absl::OkStatus();
}

absl::Status Optimizer::AddOwnTotals(const StepInputs& inputs) {
  HETERO_RETURN_IF_ERROR(Fill(0, device_.totals, stream_));
  for (size_t i = 0; i < local_.size(); ++i) {
    const int64_t module = local_index_[i];
    const TensorView statistics = device_.statistics_MS.At(module);
    const int64_t first = first_parameter_[module];
    HETERO_RETURN_IF_ERROR(local_[i]->AddStatistics(
        statistics.Rows(0, 2),
        device_.non_finite_P.Rows(first, first_parameter_[module + 1] - first), stream_));
    if (inputs.participants.empty() || inputs.participants[i] == 0) continue;
    HETERO_RETURN_IF_ERROR(
        Fill(inputs.participants[i], statistics.Rows(kModuleParticipants, 1), stream_));
  }
  HETERO_RETURN_IF_ERROR(Copy(inputs.tokens, device_.tokens_1, stream_));
  if (!inputs.faults.is_null()) {
    HETERO_RETURN_IF_ERROR(Copy(inputs.faults, device_.faults_1, stream_));
  }
  return options_.num_addends > 0 ? Copy(inputs.addends, device_.addends, stream_)
                                  : absl::OkStatus();
}

absl::Status Optimizer::Queue(const StepInputs& inputs) {
  if (options_.num_addends > 0 || !inputs.addends.is_null()) {
    HETERO_RETURN_IF_ERROR(
        ExpectDense("addends", inputs.addends, DType::kF64, {options_.num_addends}));
  }
  HETERO_RETURN_IF_ERROR(ExpectDense("tokens", inputs.tokens, DType::kF64, {1}));
  if (!inputs.participants.empty() && inputs.participants.size() != local_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("participants are told of ", inputs.participants.size(), " modules; expected ",
                     local_.size(), ", those of this rank, or none"));
  }
  HETERO_RETURN_IF_ERROR(Settle());
  HETERO_RETURN_IF_ERROR(AddOwnTotals(inputs));
  if (control_ != nullptr) {
    HETERO_RETURN_IF_ERROR(control_->AllReduce(device_.totals, device_.totals, ReduceOp::kSum,
                                               stream_, "optimizer.totals"));
  }
  HETERO_RETURN_IF_ERROR(DecideUpdate({.statistics_MS = device_.statistics_MS,
                                       .non_finite_P = device_.non_finite_P,
                                       .tokens_1 = device_.tokens_1,
                                       .faults_1 = device_.faults_1,
                                       .rules_M2 = device_.rules_M2,
                                       .max_norm = options_.clip_gradient_norm,
                                       .decisions_MD = device_.decisions_MD},
                                      stream_));
  const AdamWUpdate update = NextUpdate();
  for (size_t i = 0; i < local_.size(); ++i) {
    AdamWUpdate of_module = update;
    of_module.decisions = decisions(i);
    HETERO_RETURN_IF_ERROR(local_[i]->Apply(of_module, stream_));
  }
  HETERO_RETURN_IF_ERROR(
      CopyToHost(device_.all, staging_.View(DType::kF64, device_.all.dims()), stream_));
  if (stream_.shape_only()) {
    reports_.emplace_back();
    return absl::OkStatus();
  }
  HETERO_RETURN_IF_ERROR(read_.Record(stream_));
  pending_ = {.samples = inputs.samples, .learning_rate = update.learning_rate};
  return absl::OkStatus();
}

AdamWUpdate Optimizer::NextUpdate() const {
  const int64_t consumed = progress_.consumed_samples;
  return {
      .step = progress_.applied_steps + 1,
      .learning_rate = options_.learning_rate.At(consumed),
      .weight_decay = options_.weight_decay.has_value() ? options_.weight_decay->At(consumed) : 0};
}

std::vector<GroupSettings> Optimizer::Groups(size_t i) const {
  const AdamWUpdate next = NextUpdate();
  const ModuleOptimizerOptions& module = local_[i]->options();
  const LearningRateOptions& rate = options_.learning_rate.options();
  const WeightDecayOptions decay =
      options_.weight_decay.has_value() ? options_.weight_decay->options() : WeightDecayOptions();
  std::vector<GroupSettings> groups;
  for (const ParameterGroup& group : options_.modules[local_index_[i]].groups) {
    groups.push_back(
        {.group = group,
         .adamw = module.adamw,
         .updates = progress_.applied_steps,
         .learning_rate = module.LearningRate(next.learning_rate),
         .learning_rate_scale = module.learning_rate_scale,
         .peak_learning_rate = rate.peak,
         .minimum_learning_rate = rate.minimum,
         .weight_decay = group.weight_decay_scale() * module.WeightDecay(next.weight_decay),
         .first_weight_decay = module.WeightDecay(decay.start),
         .last_weight_decay = module.WeightDecay(decay.end)});
  }
  return groups;
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

absl::StatusOr<StepReport> Optimizer::Step(const StepInputs& inputs) {
  HETERO_RETURN_IF_ERROR(Queue(inputs));
  return Report();
}

StepReport Optimizer::Read(const Pending& step) const {
  const Numbers host = Divide(staging_.View(DType::kF64, device_.all.dims()));
  StepReport report = {.learning_rate = step.learning_rate,
                       .tokens = host.tokens_1.values<double>()[0]};
  const std::span<const double> non_finite = host.non_finite_P.values<double>();
  double squares = 0;
  for (int64_t m = 0; m < num_modules(); ++m) {
    const std::span<const double> statistics = host.statistics_MS.At(m).values<double>();
    const std::span<const double> decisions = host.decisions_MD.At(m).values<double>();
    const double before_clipping = decisions[kUpdateScale] / decisions[kUpdateClipFactor];
    const double norm = std::sqrt(statistics[kModuleSquares]) * before_clipping;
    double of_module = 0;
    for (int64_t p = first_parameter_[m]; p < first_parameter_[m + 1]; ++p) {
      of_module += non_finite[p];
    }
    report.module_norms.push_back(NormOf(norm, of_module));
    squares += norm * norm;
    report.clip_factor = std::min(report.clip_factor, decisions[kUpdateClipFactor]);
    report.zero_gradients += static_cast<int64_t>(statistics[kModuleZeros]);
  }
  ReadNonFinite(non_finite, report);
  report.gradient_norm =
      NormOf(std::sqrt(squares), static_cast<double>(report.non_finite_gradients));
  const std::span<const double> sums = host.addends.values<double>();
  report.sums.assign(sums.begin(), sums.end());
  if (host.faults_1.values<double>()[0] != 0) {
    report.outcome = StepOutcome::kFaulty;
  } else if (report.non_finite_gradients > 0) {
    report.outcome = StepOutcome::kNonFinite;
  } else if (!(report.tokens > 0)) {
    report.outcome = StepOutcome::kNoTokens;
  }
  return report;
}

void Optimizer::ReadNonFinite(std::span<const double> non_finite, StepReport& report) const {
  for (int64_t m = 0; m < num_modules(); ++m) {
    const OptimizedModule& module = options_.modules[m];
    for (size_t p = 0; p < module.parameters.size(); ++p) {
      const auto count = static_cast<int64_t>(non_finite[first_parameter_[m] + p]);
      if (count > 0 && report.non_finite_gradients == 0) {
        report.non_finite_parameter = absl::StrCat(module.name, " ", module.parameters[p]);
      }
      report.non_finite_gradients += count;
    }
  }
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
