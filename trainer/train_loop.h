#ifndef HETERO_TRAINER_TRAIN_LOOP_H_
#define HETERO_TRAINER_TRAIN_LOOP_H_

// The steps, evaluations and saves of one rank, in the order of the run.

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/trainer/checkpoint/rank_saves.h"
#include "hetero/trainer/checkpoint/run_state.h"
#include "hetero/trainer/interval_waits.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/prediction.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/replica_check.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/reporter.h"
#include "hetero/trainer/report/step_tally.h"
#include "hetero/trainer/report/timer_totals.h"
#include "hetero/trainer/signals.h"
#include "hetero/trainer/step/program_timer.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/step/step_clock.h"

namespace hetero {

// All outlives the loop.
struct TrainLoopOptions {
  const Job& job;
  RankTrainer& trainer;
  const Prediction& predicted;
  const StopSignals& signals;
  Reporter* reporter = nullptr;  // null on all ranks but the one that logs
  RankSaves* saves = nullptr;    // null: nothing is saved
  RankRecord& record;
  ReplicaCheck* replicas = nullptr;  // null: nobody compares weights
  ProgramTimer* timer = nullptr;     // of the trainer; null: nobody times
  IntervalWaits* waits = nullptr;    // where the record has waits; null: they are no tags
  int64_t first_step = 0;
  int64_t passed_over_samples = 0;  // before it
};

class TrainLoop {
 public:
  explicit TrainLoop(const TrainLoopOptions& options)
      : options_(options),
        queued_(options.first_step),
        reported_(options.first_step),
        passed_over_samples_(options.passed_over_samples),
        timers_(options.job.model->graph().ModuleNames()) {}

  // To the end of the run, or until a signal, time or failing saves end it.
  // Errors: INTERNAL when the rank calls what was not predicted; those of the samples and of the
  // other ranks.
  absl::Status Run();

 private:
  Stream& stream() { return options_.trainer.engine().stream(); }
  bool on_gpu() { return stream().device().kind == DeviceKind::kCuda; }
  int64_t num_steps() const { return options_.job.sizes.train_steps; }
  bool Diverges() const;
  bool EndsEarly() const { return stopped_ || saves_fail_ || Diverges(); }
  Wishes Wanted() const;
  bool EvaluationIsDue() const;
  bool PassesOver(int64_t step) const;
  // Steps of this run that are not passed over.
  int64_t NumToRun() const;
  // Of the step in work, whether the norm of all parameters is told.
  bool TellsNorm() const;
  bool BatchGrows() const;  // with the next step

  absl::Status Train();
  absl::Status Step();
  // Runs the next step to look inside of it, and ends the run.
  absl::Status Walk();
  absl::Status ReportUntil(int64_t step);
  // Of the steps until now, where it is time.
  absl::Status CompareReplicas();
  // What ended with step `step`, where it is asked for.
  absl::Status TellTimers(int64_t step);
  absl::Status Evaluate();
  // What is due between two steps: publishes what is written, begins what is to be saved.
  absl::Status TendSaves(const Wishes& wishes);
  // After a signal saves may have a bounded time.
  absl::Status HurrySaves();
  absl::Status SaveLast();
  double NextRate() const;
  RunState State() const;
  void TellSaves();
  void KeepProfile();

  const TrainLoopOptions options_;
  std::optional<StepClock> clock_;
  TrainingAccount account_;
  StepTally tally_;
  int64_t queued_;
  int64_t reported_;
  int64_t ran_ = 0;  // of those that were queued, without what was passed over
  int64_t num_to_run_ = 0;
  int64_t passed_over_samples_;
  TimerTotals timers_;
  int64_t waited_until_ = 0;  // steps that ran when waits were told
  std::optional<int64_t> evaluated_at_;
  bool stopped_ = false;
  bool best_is_due_ = false;
  bool saves_fail_ = false;
  const absl::Time start_ = absl::Now();
};

}  // namespace hetero

#endif  // HETERO_TRAINER_TRAIN_LOOP_H_
