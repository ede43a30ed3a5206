#include "hetero/trainer/prediction.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/save_memory.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/checkpoint/save_settings.h"
#include "hetero/trainer/config/launch.h"
#include "hetero/trainer/step/rank_trainer.h"

namespace hetero {
namespace {

// Of one rank, far beyond any machine's. A prediction above it has lost its meaning.
constexpr int64_t kMaxRankBytes = int64_t{1} << 44;

// The calls are those of step `step`.
absl::StatusOr<Prediction> RunOnShapes(const Job& job, GlobalRank rank, int64_t step,
                                       const StopSignals& signals, const PredictOptions& predict) {
  const std::unique_ptr<CommunicatorFactory> loopback =
      LoopbackFactory(rank, job.layout->world_size());
  RecordingFactory factory(*loopback);
  EngineOptions options = MakeEngineOptions(job, rank, ShapeOnlyDevice(job), factory);
  options.keeps_everything = predict.keeps_everything;
  options.stop_requested = [&signals] { return signals.requested() != 0; };
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<RankTrainer> trainer,
                          RankTrainer::Create(std::move(options), *job.optimizer));
  Engine& engine = trainer->engine();
  engine.stream().ledger().RecordCollectives(true);
  HETERO_RETURN_IF_ERROR(trainer->Queue(step)).With("prediction");
  Prediction prediction{.calls = engine.stream().ledger()};
  if (job.optimizer->parameters_norm) {
    HETERO_RETURN_IF_ERROR(trainer->QueueNorm()).With("prediction");
  }
  if (job.evaluate.has_value()) {
    const auto goes_on = [] { return false; };
    HETERO_RETURN_IF_ERROR(trainer->Evaluate(1, goes_on)).With("prediction");
  }
  prediction.arenas = engine.PeakMemory();
  for (const int64_t bytes : prediction.arenas.activation_bytes) {
    if (bytes <= kMaxRankBytes) continue;
    return absl::ResourceExhaustedError(absl::StrCat(bytes, " bytes of activations a microbatch"));
  }
  prediction.memory = engine.PredictedMemory();
  if (job.config.checkpoint().has_save()) {
    prediction.save_bytes =
        SaveMemoryBytes(SaveOptionsOf(job.config.checkpoint().save(), *trainer, rank));
  }
  prediction.connections = CountConnections(factory.made());
  return prediction;
}

// One step of each size: the largest needs the most memory.
absl::StatusOr<Prediction> RunSizesOnShapes(const Job& job, GlobalRank rank,
                                            const StopSignals& signals,
                                            const PredictOptions& options) {
  const std::span<const data::BatchSchedule::Phase> phases = job.train.batch.schedule->phases();
  std::vector<CallLedger> of_smaller;
  for (size_t i = 0; i + 1 < phases.size(); ++i) {
    HETERO_ASSIGN_OR_RETURN(Prediction smaller,
                            RunOnShapes(job, rank, phases[i].first_step, signals, options));
    of_smaller.push_back(std::move(smaller.calls));
  }
  HETERO_ASSIGN_OR_RETURN(Prediction prediction,
                          RunOnShapes(job, rank, phases.back().first_step, signals, options));
  prediction.of_smaller = std::move(of_smaller);
  return prediction;
}

// Errors: INVALID_ARGUMENT when the configuration asks for more memory than there can be.
absl::StatusOr<Prediction> Predict(const Job& job, GlobalRank rank, const StopSignals& signals,
                                   const PredictOptions& options) {
  absl::StatusOr<Prediction> prediction = RunSizesOnShapes(job, rank, signals, options);
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " of this configuration has no room anywhere: ", why,
                     "; lower micro_batch_size, sequence_length or the model's sizes"));
  };
  if (absl::IsResourceExhausted(prediction.status())) {
    return refuse(prediction.status().message());
  }
  HETERO_RETURN_IF_ERROR(prediction.status());
  if (prediction->memory.total_bytes() <= kMaxRankBytes) return prediction;
  return refuse(
      absl::StrCat(prediction->memory.ToString(), ", at most ", kMaxRankBytes >> 20, " MiB"));
}

}  // namespace

const CallLedger& Prediction::CallsOf(const Job& job, int64_t step) const {
  const int64_t size = job.train.batch.SizeOf(step);
  for (size_t i = 0; i < of_smaller.size(); ++i) {
    if (job.smaller[i].batch.global_batch_size == size) return of_smaller[i];
  }
  return calls;
}

absl::StatusOr<std::vector<Prediction>> PredictClasses(const Job& job, const StopSignals& signals,
                                                       const PredictOptions& options) {
  std::vector<Prediction> predictions;
  for (const WorkClass& ranks : job.work.classes) {
    HETERO_ASSIGN_OR_RETURN(Prediction prediction,
                            Predict(job, ranks.first_rank, signals, options));
    predictions.push_back(std::move(prediction));
  }
  return predictions;
}

absl::Status CheckHostMemory(const Job& job, std::span<const Prediction> predictions,
                             const MemoryLimit& limit) {
  const bool on_gpu = job.config.device() == proto::RunConfig::CUDA;
  const bool alone = on_gpu && AreProcesses(job.config.launch());
  int64_t num_ranks = 0;
  int64_t held = 0;
  int64_t saves = 0;
  for (size_t i = 0; i < predictions.size(); ++i) {
    const int64_t of_rank =
        predictions[i].memory.host_bytes(on_gpu ? DeviceKind::kCuda : DeviceKind::kCpu);
    if (alone) {
      num_ranks = 1;
      held = std::max(held, of_rank);
      saves = std::max(saves, predictions[i].save_bytes);
    } else {
      const int64_t of_class = job.work.classes[i].num_ranks;
      num_ranks += of_class;
      held += of_class * of_rank;
      saves += of_class * predictions[i].save_bytes;
    }
  }
  if (held + saves <= limit.bytes) return absl::OkStatus();
  const std::string limits = absl::StrCat(limit.what, " ", limit.bytes >> 20, " MiB");
  if (held > limit.bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ranks of this run need ", held >> 20, " MiB of memory together, ", limits,
                     "; lower micro_batch_size, sequence_length or the model's sizes, and see "
                     "--dry_run"));
  }
  const proto::SaveCheckpoints& save = job.config.checkpoint().save();
  const int64_t largest =
      LargestRing((limit.bytes - held) / num_ranks, {.incremental = save.incremental()});
  return absl::InvalidArgumentError(
      absl::StrCat("checkpoint.save.host_bytes is ",
                   save.has_host_bytes() ? absl::StrCat(save.host_bytes())
                                         : "unset, which is a quarter of what a rank saves",
                   ": checkpoints take ", saves >> 20, " MiB of memory beside ", held >> 20,
                   " MiB of ", Counted(num_ranks, "rank"), ", ", limits, "; ",
                   largest > 0 ? absl::StrCat("nearest is ", largest)
                               : "no value fits, nearest is a run without checkpoint.save"));
}

absl::StatusOr<std::vector<Prediction>> PredictRun(const Job& job, const StopSignals& signals) {
  HETERO_ASSIGN_OR_RETURN(std::vector<Prediction> predictions, PredictClasses(job, signals));
  HETERO_RETURN_IF_ERROR(CheckHostMemory(job, predictions, HostMemoryLimit()));
  return predictions;
}

}  // namespace hetero
