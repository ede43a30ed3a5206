#include "hetero/trainer/config/config.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/config/field_rules.h"
#include "hetero/grid/config/from_proto.h"
#include "hetero/grid/layout.h"
#include "hetero/models/stage.h"
#include "hetero/trainer/config/advice.h"
#include "hetero/trainer/config/balance_rules.h"
#include "hetero/trainer/config/batch_rules.h"
#include "hetero/trainer/config/batch_schedule.h"
#include "hetero/trainer/config/checkpoint_rules.h"
#include "hetero/trainer/config/division_rules.h"
#include "hetero/trainer/config/launch.h"
#include "hetero/trainer/config/learning_rate_settings.h"
#include "hetero/trainer/config/module_names.h"
#include "hetero/trainer/config/optimizer_rules.h"
#include "hetero/trainer/config/pipeline_rules.h"
#include "hetero/trainer/config/supported_grids.h"
#include "hetero/trainer/feed/samples.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {
namespace {

using proto::RunConfig;

// Longer than any step or evaluation batch keeps a healthy rank away from its peers.
constexpr double kDefaultCollectiveTimeoutSeconds = 300;
constexpr double kDefaultArrivalTimeoutSeconds = 300;

// Longer than any glitch of single batches lasts.
constexpr int64_t kDefaultDivergenceSteps = 10;

// More than a glitch of the disk, less than a day's work lost.
constexpr int64_t kDefaultMaxFailures = 3;
constexpr int64_t kDefaultMaxFallbacks = 1;

// Ranks of one process that run; a dry run has none.
constexpr int64_t kMaxThreads = 4096;

void CheckGrids(const RunConfig& config, Violations& violations) {
  const std::vector<GridSpec> specs = SupportedGrids(config);
  violations.Add(CheckSupportedSizes(config));
  const absl::StatusOr<int64_t> world_size = ParseLaunch(config.launch());
  if (!config.launch().empty() && !world_size.ok()) {
    violations.Add({.field = "launch",
                    .message = std::string(world_size.status().message()),
                    .corrections = {{{"launch", absl::StrCat(kThreadsLaunch, 1)}}}});
  }
  const bool complete = std::all_of(
      config.grids().begin(), config.grids().end(),
      [](const proto::GridSpec& grid) { return grid.has_num_ranks() && grid.has_rank_offset(); });
  if (!complete || specs.empty() || !world_size.ok()) return;
  const bool processes = AreProcesses(config.launch());
  for (Violation& violation : Validate(specs, *world_size)) {
    std::erase_if(violation.corrections, [processes](Correction& correction) {
      Assignment& first = correction[0];
      if (first.path != kWorldSize) return false;
      first = {"launch", absl::StrCat(processes ? kProcessesLaunch : kThreadsLaunch, first.value)};
      return !ParseLaunch(first.value).ok();
    });
    violations.Add(std::move(violation));
  }
}

void CheckPrecision(const RunConfig& config, Violations& violations) {
  if (!violations.Sound({"precision", "device"})) return;
  if (config.precision() != RunConfig::BF16 || config.device() == RunConfig::CUDA) return;
  Violation violation = Refuse("precision",
                               absl::StrCat(" is BF16, which needs device CUDA; device is ",
                                            RunConfig::Device_Name(config.device())),
                               {"F32"});
  violation.corrections.push_back({{"device", "CUDA"}});
  violations.Add(std::move(violation));
}

// Whatever only the model can judge: the grids' names, its parameters, its data.
void CheckWithModel(const RunConfig& config, const ModelRegistry& models, Violations& violations) {
  if (!violations.Sound({"model", "precision"})) return;
  const absl::StatusOr<std::unique_ptr<Model>> model =
      models.Make(config.model(), StorageOf(config));
  if (!model.ok()) {
    violations.Add(Refuse("model", absl::StrCat(": ", model.status().message())));
    return;
  }
  for (const GraphModule& module : (*model)->graph().modules) {
    if (const absl::Status table = (*model)->MakeTable(module.name, {}).status(); !table.ok()) {
      violations.Add(Refuse("model", absl::StrCat(": ", table.message())));
    } else {
      CheckStages(config, **model, module, violations);
      violations.Add(CheckDivisions(config, **model, module.name));
    }
  }
  if (violations.Sound({"grids"})) {
    std::vector<std::string> names;
    for (const proto::GridSpec& grid : config.grids()) names.push_back(grid.name());
    violations.Add(CheckModules(names, (*model)->graph().ModuleNames()));
  }
  CheckOptimizerModules(config, (*model)->graph().ModuleNames(), violations);
  const std::vector<std::string> modules = (*model)->graph().ModuleNames();
  CheckModuleNames("checkpoint.load.modules", config.checkpoint().load().modules(), modules,
                   violations);
  CheckModuleNames("selective_recompute", config.selective_recompute(), modules, violations);
  if (config.split_backward() && config.selective_recompute_size() > 0) {
    violations.Add(Refuse("split_backward",
                          " is true, and what selective_recompute leaves out would be kept from a "
                          "backward pass to its weight gradients",
                          {"false"}));
  }
  const bool data_is_sound = config.has_data() && violations.Sound({"data", "sequence_length"});
  if (data_is_sound) violations.Add(ValidateData(config, ContractOf((*model)->graph())));
  violations.Add(CheckBalance(config, (*model)->graph(), models.SampleOwner(config.model())));
}

void WriteDefaults(proto::Optimizer& optimizer) {
  if (!optimizer.has_correct_partial_participation()) {
    optimizer.set_correct_partial_participation(false);
  }
  for (proto::ModuleOptimizer& module : *optimizer.mutable_per_module()) {
    if (!module.has_learning_rate_scale()) module.set_learning_rate_scale(1);
    if (!module.has_overlap_gradient_reduce()) module.set_overlap_gradient_reduce(true);
    if (!module.has_overlap_parameter_gather()) module.set_overlap_parameter_gather(true);
  }
}

void WriteDefaults(proto::Checkpoint& checkpoint) {
  if (checkpoint.has_save() && !checkpoint.save().has_max_failures()) {
    checkpoint.mutable_save()->set_max_failures(kDefaultMaxFailures);
  }
  if (checkpoint.has_load() && !checkpoint.load().has_max_fallbacks()) {
    checkpoint.mutable_load()->set_max_fallbacks(kDefaultMaxFallbacks);
  }
}

// Each with advice about its own rule alone.
std::vector<Violation> FindViolations(const RunConfig& config, const ModelRegistry& models) {
  Violations fields;
  fields.Add(CheckFieldRules(config, ""));
  if (config.batch_case() == RunConfig::BATCH_NOT_SET) {
    fields.Add(
        Violation{"global_batch_size",
                  "neither global_batch_size nor batch_size_schedule is set; give one of them"});
  }
  CheckBatchSchedule(config, fields);
  Violations violations;
  const std::string sample_owner = models.SampleOwner(config.model());
  violations.Add(CheckLanes(config, sample_owner, fields));
  CheckGrids(config, violations);
  if (config.has_model()) {
    const bool on_gpu = config.device() == RunConfig::CUDA;
    violations.Add(models.Validate(config.model(), "model", on_gpu));
  }
  violations.Add(fields.Take());
  if (config.duration_case() == RunConfig::DURATION_NOT_SET) {
    violations.Add(
        Violation{"train_steps", "neither train_steps nor train_samples is set; give one of them"});
  }
  if (config.has_data() && config.data().source_case() == proto::Data::SOURCE_NOT_SET) {
    violations.Add(
        Violation{"data", "data names no source; give one of fashion_mnist, web_dataset, mock"});
  }
  CheckPrecision(config, violations);
  CheckBatches(config, sample_owner, violations);
  CheckInterleaving(config, sample_owner, violations);
  CheckOptimizer(config, violations);
  CheckLearningRate(config, violations);
  CheckCheckpoint(config, violations);
  CheckWithModel(config, models, violations);
  return violations.Take();
}

}  // namespace

std::vector<GridSpec> GridSpecs(const RunConfig& config) {
  std::vector<GridSpec> specs;
  for (const proto::GridSpec& grid : config.grids()) specs.push_back(FromProto(grid));
  return specs;
}

DType StorageOf(const RunConfig& config) {
  return config.precision() == RunConfig::BF16 ? DType::kBF16 : DType::kF32;
}

ScheduleOptions ScheduleOf(const RunConfig& config) {
  return {.encoder_run_ahead = static_cast<int>(config.encoder_run_ahead()),
          .pipeline_chunks = static_cast<int>(PipelineChunks(config)),
          .split_backward = config.split_backward(),
          .selective_recompute = {config.selective_recompute().begin(),
                                  config.selective_recompute().end()},
          .balance_images = config.data().balance().images()};
}

std::vector<Violation> Validate(const RunConfig& config, const ModelRegistry& models) {
  return FindWithWholeAdvice(
      config, [&models](const RunConfig& candidate) { return FindViolations(candidate, models); });
}

std::vector<Violation> ValidateThreads(const RunConfig& config) {
  const int64_t world_size = SizesOf(config).world_size;
  if (world_size <= kMaxThreads || AreProcesses(config.launch())) return {};
  return {{.field = "launch",
           .message = absl::StrCat("launch is ", config.launch(), ", this process runs at most ",
                                   kMaxThreads,
                                   " ranks, each a thread; see --dry_run for what more would do")}};
}

RunSizes SizesOf(const RunConfig& config) {
  return {.world_size = ParseLaunch(config.launch()).value(),
          .train_steps = config.has_train_samples()
                             ? BatchScheduleOf(config).NumSteps(config.train_samples())
                             : config.train_steps()};
}

std::vector<std::string> ChangesOf(const RunConfig& config) {
  return LearningRateSettingsOf(config).changes;
}

RunConfig Resolve(RunConfig config) {
  SetLengths(LearningRateSettingsOf(config), *config.mutable_schedule());
  if (!config.schedule().has_initial()) config.mutable_schedule()->set_initial(0);
  WriteDefaults(*config.mutable_optimizer());
  if (!config.has_precision()) config.set_precision(RunConfig::F32);
  if (!config.has_pipeline_chunks()) config.set_pipeline_chunks(1);
  if (!config.has_split_backward()) config.set_split_backward(false);
  if (!config.has_arrival_timeout_seconds()) {
    config.set_arrival_timeout_seconds(kDefaultArrivalTimeoutSeconds);
  }
  if (!config.has_collective_timeout_seconds()) {
    config.set_collective_timeout_seconds(kDefaultCollectiveTimeoutSeconds);
  }
  if (!config.data().has_loader_timeout_seconds()) {
    // The rank that waits for its samples names them before others name that rank.
    config.mutable_data()->set_loader_timeout_seconds(config.collective_timeout_seconds() / 2);
  }
  if (!config.has_divergence_steps()) config.set_divergence_steps(kDefaultDivergenceSteps);
  if (config.has_evaluation()) {
    const BatchSizes sizes = EvaluationBatch(config);
    config.mutable_evaluation()->set_micro_batch_size(sizes.micro);
    config.mutable_evaluation()->set_global_batch_size(sizes.global);
  }
  if (config.has_checkpoint()) WriteDefaults(*config.mutable_checkpoint());
  return config;
}

}  // namespace hetero
