#include "hetero/trainer/train_rank.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/exchange.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/tensor/memory.h"
#include "hetero/trainer/checkpoint/load_rank.h"
#include "hetero/trainer/checkpoint/rank_saves.h"
#include "hetero/trainer/checkpoint/run_state.h"
#include "hetero/trainer/feed/run_quarantine.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/interval_waits.h"
#include "hetero/trainer/replica_check.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/program_timer.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "hetero/trainer/step/step_waits.h"
#include "hetero/trainer/train_loop.h"

namespace hetero {
namespace {

// Where the run wants its steps timed.
std::optional<ProgramTimer> TimerOf(const Job& job, GlobalRank rank) {
  if (!job.config.logging().timers()) return std::nullopt;
  const std::vector<std::string> modules = job.model->graph().ModuleNames();
  std::vector<int> module_of_stage;
  for (const PlanStage& stage : job.train.stages) {
    const auto module = std::ranges::find(modules, stage.module);
    module_of_stage.push_back(static_cast<int>(module - modules.begin()));
  }
  const int own = module_of_stage[job.train.StagesOf(*job.layout, rank).front()];
  return ProgramTimer(job.devices[rank.value()], std::move(module_of_stage),
                      static_cast<int>(modules.size()), own);
}

absl::Status ExpectPredicted(const MemoryLedger& allocated, const MemoryLedger& predicted) {
  if (allocated == predicted) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("allocated ", allocated.ToString(), "; the dry run said ",
                                          predicted.ToString()));
}

// Null for a world of one.
absl::StatusOr<std::unique_ptr<Communicator>> MakeWorld(const Job& job,
                                                        CommunicatorFactory& factory) {
  if (job.layout->world_size() == 1) return nullptr;
  Group world;
  for (int64_t r = 0; r < job.layout->world_size(); ++r) world.push_back(GlobalRank(r));
  return factory.Create({"checkpoint", std::move(world)}, {.on_host = true});
}

// Returns what is done.
absl::StatusOr<RunState> GoOn(const RunParts& run, GlobalRank rank, RankTrainer& trainer,
                              Exchange& exchange, Reporter* reporter) {
  RunCheckpoints& checkpoints = *run.checkpoints;
  if (!checkpoints.source.has_value()) return RunState();
  HETERO_ASSIGN_OR_RETURN(const LoadedRun loaded,
                          LoadRank(checkpoints, *run.job.model, rank, trainer, exchange));
  // All ranks have read what they wanted.
  if (exchange.rank() == 0) checkpoints.source->leases.clear();
  if (reporter != nullptr) {
    HETERO_RETURN_IF_ERROR(WriteResumeReport(checkpoints, loaded));
    for (const std::string& line : Describe(loaded, run.job.sizes.train_steps)) {
      reporter->Tell(line);
    }
    reporter->GoesOnFrom(loaded.state.iteration, loaded.state.passed_over_samples,
                         loaded.checkpoint);
  }
  return loaded.state;
}

}  // namespace

absl::Status TrainRank(const RunParts& run, GlobalRank rank, const Prediction& prediction,
                       CommunicatorFactory& factory, Reporter* reporter, RankRecord& record) {
  const Job& job = run.job;
  EngineOptions options = MakeEngineOptions(job, rank, job.devices[rank.value()], factory);
  options.memory = prediction.arenas;
  options.spans = record.spans.has_value() ? &*record.spans : nullptr;
  options.current = &record.operation;
  options.waits = record.waits.has_value() ? &*record.waits : nullptr;
  std::optional<ProgramTimer> timer = TimerOf(job, rank);
  options.timer = timer.has_value() ? &*timer : nullptr;
  options.watch = record.walk.has_value() ? &*record.walk : nullptr;
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  const MemoryLedger& allocated = trainer->engine().ledger();
  HETERO_RETURN_IF_ERROR(ExpectPredicted(allocated, prediction.memory));
  if (const std::shared_ptr<RunQuarantine>& quarantine = job.samples->quarantine) {
    trainer->CallOnBadSamples([&](Split split, std::span<const int64_t> samples) {
      const SampleSet& set = split == Split::kTrain ? job.samples->train : *job.samples->evaluation;
      std::function<void(std::string_view)> tell;
      if (reporter != nullptr) tell = [&](std::string_view line) { reporter->Tell(line); };
      return quarantine->Add(*set.quarantine, samples, tell);
    });
  }
  return AbortOnFailure(rank, factory, [&]() -> absl::Status {
    TrainLoopOptions loop{.job = job,
                          .trainer = *trainer,
                          .predicted = prediction,
                          .signals = run.signals,
                          .reporter = reporter,
                          .record = record,
                          .timer = timer.has_value() ? &*timer : nullptr};
    std::optional<IntervalWaits> waits;
    if (timer.has_value() && record.waits.has_value()) {
      loop.waits = &waits.emplace(job, rank);
    }
    std::unique_ptr<ReplicaCheck> replicas;
    if (job.config.has_compare_replicas_every_steps()) {
      HETERO_ASSIGN_OR_RETURN(replicas,
                              ReplicaCheck::Create(trainer->engine().stages(), rank, factory));
      loop.replicas = replicas.get();
    }
    if (run.checkpoints == nullptr) return TrainLoop(loop).Run();
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<Communicator> world, MakeWorld(job, factory));
    Exchange exchange(world.get());
    HETERO_ASSIGN_OR_RETURN(const RunState done, GoOn(run, rank, *trainer, exchange, reporter));
    loop.first_step = done.iteration;
    loop.passed_over_samples = done.passed_over_samples;
    if (!run.checkpoints->settings.has_save()) return TrainLoop(loop).Run();
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<RankSaves> saves,
        RankSaves::Create(*run.checkpoints, *job.model, rank, *trainer, exchange));
    MemoryLedger with_saves = prediction.memory;
    with_saves.Add(MemoryLabel::kHostStaging, prediction.save_bytes);
    HETERO_RETURN_IF_ERROR(ExpectPredicted(allocated, with_saves));
    trainer->CallBeforeUpdates([&saves, &record] {
      const WaitScope wait(record.waits.has_value() ? &record.waits->checkpoints : nullptr);
      saves->AwaitCopied();
    });
    loop.saves = saves.get();
    return TrainLoop(loop).Run();
  });
}

}  // namespace hetero
