#include "hetero/trainer/train_loop.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/telemetry/spans.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/report/metrics.h"
#include "hetero/trainer/step/step_waits.h"

namespace hetero {

absl::Status TrainLoop::Run() {
  HETERO_ASSIGN_OR_RETURN(SideStream* const layers_side, stream().State<SideStream>());
  const bool traces = options_.record.spans.has_value();
  HETERO_ASSIGN_OR_RETURN(
      clock_,
      StepClock::Create(stream().device(),
                        {.samples = on_gpu() && (options_.job.profile || traces),
                         .sides = {{"communication of layers", layers_side},
                                   {"gradients and parameters", &options_.trainer.traffic_side()}},
                         .max_spans = traces ? kMaxSpans : 0}));
  num_to_run_ = NumToRun();
  if (options_.job.config.logging().params_norm()) {
    HETERO_RETURN_IF_ERROR(options_.trainer.CountConstants());
  }
  account_.Start(stream().ledger());
  HETERO_RETURN_IF_ERROR(clock_->Start(stream()));
  HETERO_RETURN_IF_ERROR(Train());
  HETERO_RETURN_IF_ERROR(ReportUntil(queued_));
  account_.Stop(stream().ledger());
  KeepProfile();
  HETERO_RETURN_IF_ERROR(HurrySaves());
  HETERO_RETURN_IF_ERROR(SaveLast());
  if (options_.job.evaluate.has_value() && !EndsEarly() && evaluated_at_ != queued_) {
    HETERO_RETURN_IF_ERROR(Evaluate());
  }
  if (options_.saves != nullptr) {
    options_.saves->Land();
    TellSaves();
  }
  if (options_.reporter != nullptr) {
    options_.reporter->TrainingEnds(account_.time(), tally_, stopped_);
  }
  return absl::OkStatus();
}

bool TrainLoop::Diverges() const {
  return tally_.not_finite_in_a_row() >= options_.job.config.divergence_steps();
}

Wishes TrainLoop::Wanted() const {
  const proto::RunConfig& config = options_.job.config;
  const bool time_is_over = config.has_stop_after_minutes() &&
                            absl::Now() - start_ >= absl::Minutes(config.stop_after_minutes());
  return {.stop = options_.signals.requested() != 0 || time_is_over,
          .save = options_.saves != nullptr && options_.saves->IsDueByTime(),
          .busy = options_.saves != nullptr && options_.saves->IsBusy()};
}

absl::Status TrainLoop::Train() {
  while (queued_ < num_steps() && !EndsEarly()) {
    HETERO_ASSIGN_OR_RETURN(const Wishes wishes, options_.trainer.AnyOf(Wanted()));
    stopped_ = wishes.stop;
    if (stopped_) break;
    HETERO_RETURN_IF_ERROR(TendSaves(wishes));
    if (EndsEarly()) break;
    HETERO_RETURN_IF_ERROR(Step());
    HETERO_RETURN_IF_ERROR(CompareReplicas());
    if (EvaluationIsDue()) {
      HETERO_RETURN_IF_ERROR(ReportUntil(queued_));
      if (EndsEarly()) break;
      account_.Stop(stream().ledger());
      HETERO_RETURN_IF_ERROR(Evaluate());
      account_.Start(stream().ledger());
      HETERO_RETURN_IF_ERROR(clock_->Start(stream()));
    }
    const int64_t stop_every = options_.job.config.stop_every_steps();
    stopped_ = stopped_ || (stop_every > 0 && queued_ % stop_every == 0 && queued_ < num_steps());
  }
  return absl::OkStatus();
}

absl::Status TrainLoop::CompareReplicas() {
  const int64_t interval = options_.job.config.compare_replicas_every_steps();
  if (options_.replicas == nullptr || queued_ % interval != 0) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(options_.trainer.AwaitWeights());
  return options_.replicas->Compare(queued_, stream());
}

bool TrainLoop::EvaluationIsDue() const {
  const proto::Evaluation& evaluation = options_.job.config.evaluation();
  return evaluation.has_interval_steps() && queued_ >= evaluation.first_step() &&
         queued_ % evaluation.interval_steps() == 0;
}

bool TrainLoop::PassesOver(int64_t step) const {
  return std::ranges::find(options_.job.config.skip_steps(), step + 1) !=
         options_.job.config.skip_steps().end();
}

int64_t TrainLoop::NumToRun() const {
  std::set<int64_t> passed_over;
  for (const int64_t number : options_.job.config.skip_steps()) {
    if (options_.first_step < number && number <= num_steps()) passed_over.insert(number);
  }
  return num_steps() - options_.first_step - std::ssize(passed_over);
}

bool TrainLoop::TellsNorm() const {
  const proto::Logging& logging = options_.job.config.logging();
  return logging.params_norm() &&
         (IsOnConsole(logging, queued_, options_.first_step) || IsAmongEvents(logging, queued_));
}

absl::Status TrainLoop::Step() {
  RankTrainer& trainer = options_.trainer;
  if (queued_ == options_.job.walk_step) return Walk();
  if (PassesOver(queued_)) {
    ++queued_;
    return ReportUntil(queued_);
  }
  HETERO_RETURN_IF_ERROR(clock_->BeginStep(ran_, num_to_run_, stream()));
  HETERO_RETURN_IF_ERROR(trainer.Queue(queued_));
  HETERO_RETURN_IF_ERROR(clock_->EndStep(stream()));
  if (ran_ == 0 &&
      stream().ledger().collective_hash() !=
          options_.predicted.CallsOf(options_.job, queued_).collective_hash() &&
      std::ranges::none_of(trainer.engine().stages(), [](const Engine::OwnStage& own) {
        return own.stage->exceeded_prediction();
      })) {
    return absl::InternalError("the first step's collectives are not those of the dry run");
  }
  if (TellsNorm()) {
    HETERO_RETURN_IF_ERROR(trainer.QueueNorm());
  }
  ++ran_;
  ++queued_;
  // A GPU has the next step in its queue while the host waits for the last one.
  return ReportUntil(queued_ - (on_gpu() ? 1 : 0));
}

absl::Status TrainLoop::Walk() {
  HETERO_RETURN_IF_ERROR(ReportUntil(queued_));
  options_.record.walk->Start(options_.job.model->graph().num_totals);
  HETERO_RETURN_IF_ERROR(options_.trainer.Queue(queued_));
  HETERO_RETURN_IF_ERROR(options_.trainer.Result().status());
  stopped_ = true;
  return absl::OkStatus();
}

RunState TrainLoop::State() const {
  return {.iteration = queued_,
          .progress = options_.trainer.optimizer().progress(),
          .passed_over_samples = passed_over_samples_};
}

absl::Status TrainLoop::Evaluate() {
  const auto stop_requested = [this] { return options_.signals.requested() != 0; };
  absl::StatusOr<std::optional<EvaluationResult>> result =
      options_.trainer.Evaluate(options_.job.config.evaluation().num_batches(), stop_requested);
  HETERO_RETURN_IF_ERROR(result.status()).With("evaluation");
  stopped_ = !result->has_value();
  if (stopped_) return absl::OkStatus();
  evaluated_at_ = queued_;
  if (options_.reporter != nullptr) options_.reporter->Evaluation(queued_, **result);
  if (options_.saves != nullptr) {
    const std::vector<Metric>& metrics = options_.job.model->graph().metrics;
    const std::vector<LossSum> sums = EvaluationSums(metrics, (*result)->sums);
    const auto loss = std::ranges::find(sums, metrics.front().name, &LossSum::name);
    best_is_due_ = loss != sums.end() && options_.saves->IsBest(queued_, loss->sum / loss->count);
  }
  return absl::OkStatus();
}

absl::Status TrainLoop::TendSaves(const Wishes& wishes) {
  RankSaves* const saves = options_.saves;
  if (saves == nullptr) return absl::OkStatus();
  const Span span(options_.trainer.engine().spans(), "checkpoint", "checkpoint");
  std::optional<StepWaits>& waits = options_.record.waits;
  const WaitScope wait(waits.has_value() ? &waits->checkpoints : nullptr);
  if (!wishes.busy) saves->Advance();
  const bool is_due = wishes.save || best_is_due_ || saves->IsDueBySteps(queued_) || BatchGrows();
  best_is_due_ = false;
  if (is_due && queued_ > options_.first_step && queued_ != saves->last_iteration()) {
    HETERO_RETURN_IF_ERROR(ReportUntil(queued_));
    if (!Diverges()) {
      saves->Begin(State());
    }
  }
  TellSaves();
  return absl::OkStatus();
}

bool TrainLoop::BatchGrows() const {
  const data::BatchLayout& batch = options_.job.train.batch;
  return queued_ > 0 && batch.SizeOf(queued_) > batch.SizeOf(queued_ - 1);
}

absl::Status TrainLoop::HurrySaves() {
  const proto::SaveCheckpoints& save = options_.job.config.checkpoint().save();
  if (options_.saves == nullptr || !stopped_ || !save.has_grace_seconds()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const Wishes wishes,
                          options_.trainer.AnyOf({.stop = options_.signals.requested() != 0}));
  if (wishes.stop) options_.saves->EndWithin(absl::Seconds(save.grace_seconds()));
  return absl::OkStatus();
}

absl::Status TrainLoop::SaveLast() {
  RankSaves* const saves = options_.saves;
  if (saves == nullptr || Diverges() || saves_fail_) return absl::OkStatus();
  if (queued_ == options_.first_step || queued_ == saves->last_iteration()) {
    return absl::OkStatus();
  }
  saves->Begin(State());
  return absl::OkStatus();
}

void TrainLoop::TellSaves() {
  RankSaves& saves = *options_.saves;
  const std::vector<SaveOutcome> outcomes = saves.TakeOutcomes();
  for (const SaveOutcome& outcome : outcomes) {
    if (options_.reporter == nullptr) continue;
    options_.reporter->Tell(ToString(outcome));
    if (outcome.status.ok()) options_.reporter->Saved(outcome.iteration, outcome.directory);
  }
  if (outcomes.empty() || outcomes.back().given_up) return;
  if (outcomes.back().status.ok()) {
    if (options_.reporter != nullptr) options_.reporter->Unsaved({});
    return;
  }
  const absl::Status& last = outcomes.back().status;
  saves_fail_ = saves.failures_in_a_row() >= options_.job.config.checkpoint().save().max_failures();
  if (options_.reporter == nullptr) return;
  options_.reporter->Unsaved(
      saves_fail_
          ? WithExitCode(
                absl::Status(last.code(),
                             absl::StrCat("the last ", saves.failures_in_a_row(),
                                          " checkpoints could not be saved: ", last.message())),
                ExitCode::kSavesFail)
          : Annotate(last, "the last checkpoint could not be saved"));
}

}  // namespace hetero
