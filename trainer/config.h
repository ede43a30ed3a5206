#ifndef HETERO_TRAINER_CONFIG_H_
#define HETERO_TRAINER_CONFIG_H_

// What a run configuration means: its rules, its derived numbers, its defaults.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/module_grid.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// Ranks that a launch starts. Errors: INVALID_ARGUMENT unless `launch` is "threads:N", N >= 1.
absl::StatusOr<int64_t> ParseLaunch(std::string_view launch);

// The grids of a configuration, in its order.
std::vector<GridSpec> GridSpecs(const proto::RunConfig& config);

// Every rule that `config` breaks: grids first (shards and context that this system does not train
// with yet, sample lanes, spans, names, each grid on its own), then fields that are missing or out
// of bounds, then what fields require of each other. Pure: touches no device, file or clock. What
// only the model can judge is not here.
std::vector<Violation> Validate(const proto::RunConfig& config);

struct RunSizes {
  int64_t world_size = 0;
  int64_t train_steps = 0;
};

// Precondition: Validate(config) is empty.
RunSizes SizesOf(const proto::RunConfig& config);

// Lengths of the learning rate's schedule in samples. Decay ends with the run unless it is set.
struct ScheduleLengths {
  int64_t warmup = 0;
  int64_t decay = 0;
  std::optional<int64_t> tail;
};
ScheduleLengths LengthsOf(const proto::RunConfig& config);

// `config` with every default written out, as it is printed and saved: precision, batch sizes of
// evaluation, lengths and initial value of the schedule, the collectives' timeout, the steps that
// mean divergence. Precondition:
// Validate(config) is empty.
proto::RunConfig Resolve(proto::RunConfig config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_H_
