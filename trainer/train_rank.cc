#include "hetero/trainer/train_rank.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/side_stream.h"
#include "hetero/trainer/report/step_tally.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/step/step_clock.h"

namespace hetero {
namespace {

// All steps and evaluations of a rank. `reporter` is null on all ranks but the one that logs.
absl::Status RunSteps(const Job& job, RankTrainer& trainer, const CallLedger& predicted,
                      const StopSignals& signals, Reporter* reporter, RankRecord& record) {
  Engine& engine = trainer.engine();
  const proto::Evaluation& evaluation = job.config.evaluation();
  const auto stop_requested = [&signals] { return signals.requested() != 0; };
  bool stopped = false;
  const auto evaluate = [&](int64_t iteration) -> absl::Status {
    absl::StatusOr<std::optional<EvaluationResult>> result =
        trainer.Evaluate(evaluation.num_batches(), stop_requested);
    HETERO_RETURN_IF_ERROR(result.status()).With("evaluation");
    stopped = !result->has_value();
    if (reporter != nullptr && !stopped) reporter->Evaluation(iteration, **result);
    return absl::OkStatus();
  };

  Stream& stream = engine.stream();
  const bool on_gpu = stream.device().kind == DeviceKind::kCuda;
  HETERO_ASSIGN_OR_RETURN(SideStream* const layers_side, stream.State<SideStream>());
  HETERO_ASSIGN_OR_RETURN(
      StepClock clock,
      StepClock::Create(stream.device(),
                        {.samples = on_gpu && (job.profile || record.spans.has_value()),
                         .sides = {{"communication of layers", layers_side},
                                   {"gradients and parameters", &trainer.traffic_side()}},
                         .max_spans = record.spans.has_value() ? kMaxSpans : 0}));
  TrainingAccount account;
  account.Start(stream.ledger());
  HETERO_RETURN_IF_ERROR(clock.Start(stream));
  int64_t queued = 0;
  int64_t reported = 0;
  StepTally tally;
  const auto ends_early = [&] {
    return stopped || tally.not_finite_in_a_row() >= job.config.divergence_steps();
  };
  const auto report_until = [&](int64_t step) -> absl::Status {
    for (; reported < step; ++reported) {
      HETERO_ASSIGN_OR_RETURN(const StepResult result, trainer.Result());
      tally.Add(result.report.outcome, result.minimized, result.report.non_finite_parameter);
      HETERO_ASSIGN_OR_RETURN(const absl::Duration elapsed, clock.Elapsed());
      if (reporter != nullptr) {
        const int64_t consumed = trainer.optimizer().progress().consumed_samples;
        reporter->Step(reported, result, trainer.schedule().At(consumed), elapsed);
      }
    }
    return absl::OkStatus();
  };
  // A GPU has the next step in its queue while the host waits for the last one.
  const int64_t ahead = on_gpu ? 1 : 0;
  std::optional<int64_t> evaluated_at;
  while (queued < job.sizes.train_steps && !ends_early()) {
    HETERO_ASSIGN_OR_RETURN(stopped, trainer.AnyStop(stop_requested()));
    if (stopped) break;
    HETERO_RETURN_IF_ERROR(clock.BeginStep(queued, job.sizes.train_steps, stream));
    HETERO_RETURN_IF_ERROR(trainer.Queue(queued));
    HETERO_RETURN_IF_ERROR(clock.EndStep(stream));
    if (queued == 0 && stream.ledger().collective_hash() != predicted.collective_hash() &&
        std::ranges::none_of(trainer.engine().stages(), [](const Engine::OwnStage& own) {
          return own.stage->exceeded_prediction();
        })) {
      return absl::InternalError("the first step's collectives are not those of the dry run");
    }
    ++queued;
    HETERO_RETURN_IF_ERROR(report_until(queued - ahead));
    if (evaluation.has_interval_steps() && queued % evaluation.interval_steps() == 0 &&
        !ends_early()) {
      HETERO_RETURN_IF_ERROR(report_until(queued));
      if (ends_early()) break;
      account.Stop(stream.ledger());
      HETERO_RETURN_IF_ERROR(evaluate(queued));
      evaluated_at = queued;
      account.Start(stream.ledger());
      HETERO_RETURN_IF_ERROR(clock.Start(stream));
    }
  }
  HETERO_RETURN_IF_ERROR(report_until(queued));
  account.Stop(stream.ledger());
  if (std::optional<StepClock::Samples> samples = clock.samples()) {
    record.profile = {.num_steps = samples->num_steps,
                      .time = samples->time,
                      .operations = OperationsOf(samples->calls),
                      .beside = SumOf(samples->beside),
                      .num_untimed = samples->num_untimed};
    record.queues = clock.TakeSpans();
  } else {
    record.profile = account.Profile(reported);
  }
  if (job.evaluate.has_value() && !ends_early() && evaluated_at != queued) {
    HETERO_RETURN_IF_ERROR(evaluate(queued));
  }
  if (reporter != nullptr) reporter->TrainingEnds(account.time(), tally, stopped);
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainRank(const Job& job, GlobalRank rank, const Prediction& prediction,
                       CommunicatorFactory& factory, const StopSignals& signals, Reporter* reporter,
                       RankRecord& record) {
  EngineOptions options = MakeEngineOptions(job, rank, job.devices[rank.value()], factory);
  options.memory = prediction.arenas;
  options.spans = record.spans.has_value() ? &*record.spans : nullptr;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  const MemoryLedger& allocated = trainer->engine().ledger();
  if (allocated != prediction.memory) {
    return absl::InternalError(absl::StrCat("allocated ", allocated.ToString(),
                                            "; the dry run said ", prediction.memory.ToString()));
  }
  return AbortOnFailure(rank, factory, [&] {
    return RunSteps(job, *trainer, prediction.calls, signals, reporter, record);
  });
}

}  // namespace hetero
