#ifndef HETERO_TRAINER_JOB_H_
#define HETERO_TRAINER_JOB_H_

// What a configuration asks for, made ready to run.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/layout.h"
#include "hetero/grid/rank.h"
#include "hetero/models/registry.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/device.h"
#include "hetero/trainer/config/config.h"
#include "hetero/trainer/config/optimizer_settings.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/run_config.pb.h"
#include "hetero/trainer/run_options.h"
#include "hetero/trainer/step/engine.h"
#include "hetero/trainer/step/plan.h"
#include "hetero/trainer/step/work_classes.h"

namespace hetero {

// What every rank of the run shares and none changes.
struct Job {
  proto::RunConfig config;
  std::vector<std::string> notes;  // where the run differs from what was configured
  RunSizes sizes;
  std::unique_ptr<Model> model;
  std::optional<Layout> layout;
  StepPlan train;
  std::vector<StepPlan> smaller;  // of the steps before they are as large as that, growing
  std::optional<StepPlan> evaluate;
  WorkClasses work;
  SampleLimits limits;
  std::optional<RunSamples> samples;  // unset in a dry run
  std::vector<Device> devices;  // by rank; of a process its own alone, for all; empty in a dry run
  std::optional<OptimizerSettings> optimizer;
  bool profile = false;
  int64_t walk_step = -1;  // of RunOptions
};

// Errors: INVALID_ARGUMENT with every violation of the configuration, one a line; those of
// MakePlan.
absl::StatusOr<Job> MakeJob(const RunOptions& options, const ModelRegistry& models);

// Of the module that owns the samples.
int64_t NumLanes(const Job& job);

// "64 samples a step: 4 microbatches of 8 on 2 language lanes", of steps that grow each size with
// the sample that it begins at.
std::string DescribeBatches(const Job& job);

// On which ranks of `job` run on shapes alone: what they allocate and do there is what they would
// on its own devices.
Device ShapeOnlyDevice(const Job& job);

// What microbatches hold on the shape-only device.
struct ShapeContents {
  bool counted = false;                  // as much as those of Job::samples, which are read
  const SampleLimits* limits = nullptr;  // else samples as large as these; null: as Job::limits
};

// Of a rank on `device`; on the shape-only device it needs no samples unless `contents` says so.
// `job`, `factory` and the limits of `contents` outlive the engine.
EngineOptions MakeEngineOptions(const Job& job, GlobalRank rank, Device device,
                                CommunicatorFactory& factory, const ShapeContents& contents = {});

}  // namespace hetero

#endif  // HETERO_TRAINER_JOB_H_
