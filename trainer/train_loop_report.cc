// What the loop makes of steps that have ended.

#include <optional>
#include <utility>
#include <vector>

#include "hetero/base/status.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/step/memory_use.h"
#include "hetero/trainer/train_loop.h"

namespace hetero {

absl::Status TrainLoop::ReportUntil(int64_t step) {
  for (; reported_ < step; ++reported_) {
    if (PassesOver(reported_)) {
      tally_.PassOver();
      passed_over_samples_ += options_.job.train.batch.SizeOf(reported_);
      if (options_.reporter != nullptr) options_.reporter->PassOver(reported_, NextRate());
      HETERO_RETURN_IF_ERROR(TellTimers(reported_));
      continue;
    }
    HETERO_ASSIGN_OR_RETURN(const StepResult result, options_.trainer.Result());
    tally_.Add(result.report.outcome, result.minimized, result.report.non_finite_parameter);
    HETERO_ASSIGN_OR_RETURN(const absl::Duration elapsed, clock_->Elapsed());
    if (options_.reporter != nullptr) {
      const proto::Logging& logging = options_.job.config.logging();
      std::optional<MemoryUse> memory;
      if (logging.memory() && IsAmongEvents(logging, reported_)) {
        memory = options_.trainer.engine().Memory();
      }
      options_.reporter->Step(reported_, result, NextRate(), elapsed, memory);
    }
    if (options_.timer != nullptr) {
      HETERO_ASSIGN_OR_RETURN(const ProgramTimes times, options_.timer->Take());
      timers_.Add(times);
    }
    HETERO_RETURN_IF_ERROR(TellTimers(reported_));
  }
  return absl::OkStatus();
}

absl::Status TrainLoop::TellTimers(int64_t step) {
  const int64_t interval = options_.job.config.logging().console_interval_steps();
  if (options_.timer == nullptr || (step + 1) % interval != 0) return absl::OkStatus();
  std::vector<double> largest = timers_.Take();
  HETERO_RETURN_IF_ERROR(options_.trainer.Combine(largest, ReduceOp::kMax, "timers"));
  std::vector<NamedValue> told = timers_.Named(largest);
  if (options_.waits != nullptr && ran_ > waited_until_) {
    waited_until_ = ran_;
    account_.Stop(stream().ledger());
    std::vector<double> sums = options_.waits->Take(account_.Profile(ran_), *options_.record.waits);
    account_.Start(stream().ledger());
    HETERO_RETURN_IF_ERROR(options_.trainer.Combine(sums, ReduceOp::kSum, "waits"));
    for (NamedValue& value : options_.waits->Named(sums)) told.push_back(std::move(value));
  }
  if (options_.reporter != nullptr) options_.reporter->Timers(step + 1, told);
  return absl::OkStatus();
}

double TrainLoop::NextRate() const {
  return options_.trainer.schedule().At(options_.trainer.optimizer().progress().consumed_samples);
}

void TrainLoop::KeepProfile() {
  RankRecord& record = options_.record;
  if (std::optional<StepClock::Samples> samples = clock_->samples()) {
    record.profile = {.num_steps = samples->num_steps,
                      .time = samples->time,
                      .operations = OperationsOf(samples->calls),
                      .beside = SumOf(samples->beside),
                      .num_untimed = samples->num_untimed};
    record.queues = clock_->TakeSpans();
  } else {
    record.profile = account_.Profile(ran_);
  }
}

}  // namespace hetero
