#ifndef HETERO_TRAINER_REPLAY_REPLAY_H_
#define HETERO_TRAINER_REPLAY_REPLAY_H_

#include <filesystem>
#include <functional>

#include "absl/status/status.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/report/console.h"
#include "hetero/trainer/signals.h"

namespace hetero {

struct ReplayOptions {
  std::filesystem::path capsule;                                   // its folder, absolute
  std::function<void(const absl::Status& failure)> on_stuck = {};  // of RunOptions
};

// Runs the steps of a capsule again with all ranks as threads of this process, from its checkpoint
// to its step, and says whether they report what they did, to the bit. If so, it runs them once
// more and looks inside the last one: the loss of each microbatch and lane with its samples, and
// the first layer whose output or gradient is infinite or NaN. The runs leave their folders in
// "replays" of the capsule.
// Errors: those of ReadCapsule and Run; with exit code kNotReproduced what differs first.
absl::Status Replay(const ReplayOptions& options, const ModelRegistry& models, Console& console,
                    const StopSignals& signals);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPLAY_REPLAY_H_
