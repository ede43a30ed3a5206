#ifndef HETERO_TRAINER_CONFIG_CONFIG_H_
#define HETERO_TRAINER_CONFIG_CONFIG_H_

// What a run configuration means: its rules, its derived numbers, its defaults.

#include <cstdint>
#include <string>
#include <vector>

#include "hetero/base/violation.h"
#include "hetero/grid/module_grid.h"
#include "hetero/models/registry.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

// The grids of a configuration, in its order.
std::vector<GridSpec> GridSpecs(const proto::RunConfig& config);

// Every rule that `config` breaks: of its grids first (sample lanes, weight shards and context that
// this system does not train with yet, spans, names, each grid on its own), then of the model, then
// fields that are missing or out of bounds, then what fields require of each other, and what data
// and model require of each other. Rules between fields are judged where each field is sound. A
// correction passes all rules but those that are reported beside it (config/advice.h). Pure:
// touches no device, file or clock.
std::vector<Violation> Validate(const proto::RunConfig& config, const ModelRegistry& models);

// What keeps `config` from being run here, though a dry run of it is possible.
std::vector<Violation> ValidateThreads(const proto::RunConfig& config);

// The type that `config` trains in.
DType StorageOf(const proto::RunConfig& config);

// How a step of `config` is scheduled, in training and in evaluation.
ScheduleOptions ScheduleOf(const proto::RunConfig& config);

struct RunSizes {
  int64_t world_size = 0;
  int64_t train_steps = 0;
};

// Precondition: Validate(config) is empty, here and below.
RunSizes SizesOf(const proto::RunConfig& config);

// What the run does instead of what is configured, a sentence each; empty as a rule.
std::vector<std::string> ChangesOf(const proto::RunConfig& config);

// `config` with every default written out, as it is printed and saved: precision, batch sizes of
// evaluation, lengths and initial value of the schedule, what modules differ in, the collectives'
// timeout, the steps that mean divergence.
proto::RunConfig Resolve(proto::RunConfig config);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_CONFIG_H_
