#ifndef HETERO_TRAINER_CHECKPOINT_RUN_STATE_H_
#define HETERO_TRAINER_CHECKPOINT_RUN_STATE_H_

// What a run is between two steps, beside its tensors. It stands in the manifest of a checkpoint.
// Samples and schedules are functions of the numbers of samples, so that nothing else is needed to
// go on as if the run had never ended.

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/optim/optimizer.h"
#include "hetero/trainer/run_config.pb.h"
#include "nlohmann/json.hpp"

namespace hetero {

// The same on all ranks.
struct RunState {
  int64_t iteration = 0;  // steps that were done, skipped ones among them
  OptimizerProgress progress;
  int64_t passed_over_samples = 0;  // of steps that skip_steps named

  bool operator==(const RunState&) const = default;
};

// What a run takes its samples from, and what its weights are of.
struct RunIdentity {
  int64_t seed = 0;
  data::BatchSchedule batches{1};
  // Of the data set; unset before that was opened, and then taken to be what it has to be.
  std::optional<int64_t> num_samples;
  nlohmann::json architecture;  // of ArchitectureOf
};

// `config` is resolved.
RunIdentity IdentityOf(const proto::RunConfig& config, std::optional<int64_t> num_samples);

// Precondition: the number of samples is known.

nlohmann::json ToJson(const RunState& state, const RunIdentity& identity);

// The state that a run of `identity` goes on with. With other batch sizes the number of steps is
// another one and the next sample the same.
// Errors: DATA_LOSS a field that is missing or no number; INVALID_ARGUMENT naming all of another
// architecture, seed and data set, or batch sizes of which no step begins at the next sample.
absl::StatusOr<RunState> ReadRunState(const nlohmann::json& json, const RunIdentity& identity);

// What a run that loads with `settings` goes on with; the beginning when weights alone are taken.
// Errors: those of ReadRunState; with finetune those of another architecture alone, and none of
// weights of other programs or of some modules, whose shapes say enough.
absl::StatusOr<RunState> WantedRunState(const proto::LoadCheckpoint& settings,
                                        const nlohmann::json& json, const RunIdentity& identity);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_RUN_STATE_H_
