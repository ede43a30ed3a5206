#ifndef HETERO_TRAINER_CHECKPOINT_RUN_STATE_H_
#define HETERO_TRAINER_CHECKPOINT_RUN_STATE_H_

// What a run is between two steps, beside its tensors. It stands in the manifest of a checkpoint.
// Schedules are functions of the numbers of samples, and so are samples or else their order is a
// part of this: nothing else is needed to go on as if the run had never ended.

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/data/energon/lane_order.h"
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
  // Whether the order of samples has a state, and what has it, once the data set was opened.
  bool has_lane_order = false;
  std::shared_ptr<data::LaneOrder> lane_order = nullptr;
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

// Makes the order of the run's samples go on behind those that `state`, which was read from `json`,
// has consumed. Does nothing where that is a function of their number, nor at the beginning.
// Errors: those of data::LaneOrder::Restore; DATA_LOSS records that are missing or no text.
absl::Status ContinueSamples(const nlohmann::json& json, const RunState& state,
                             const RunIdentity& identity);

// What a run that loads with `settings` goes on with; the beginning when weights alone are taken.
// Errors: those of ReadRunState; with finetune those of another architecture alone, and none of
// weights of other programs or of some modules, whose shapes say enough.
absl::StatusOr<RunState> WantedRunState(const proto::LoadCheckpoint& settings,
                                        const nlohmann::json& json, const RunIdentity& identity);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_RUN_STATE_H_
