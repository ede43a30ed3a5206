#include "hetero/trainer/checkpoint/run_state.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/trainer/checkpoint/architecture.h"
#include "hetero/trainer/config/batch_schedule.h"

namespace hetero {
namespace {

constexpr char kIteration[] = "iteration";
constexpr char kConsumed[] = "consumed_train_samples";
constexpr char kPassedOver[] = "skipped_train_samples";
constexpr char kOptimizer[] = "optimizer";
constexpr char kRun[] = "run";
constexpr char kSeed[] = "seed";
constexpr char kBatch[] = "global_batch_size";
constexpr char kSamples[] = "num_samples";
constexpr char kArchitecture[] = "architecture";
// Of an order with a state the records of its workers, in base64.
constexpr char kWorkers[] = "sample_workers";

// Fields of OptimizerProgress by name.
constexpr std::pair<const char*, int64_t OptimizerProgress::*> kProgress[] = {
    {"applied_steps", &OptimizerProgress::applied_steps},
    {"consumed_samples", &OptimizerProgress::consumed_samples},
    {"skipped_non_finite", &OptimizerProgress::skipped_non_finite},
    {"skipped_no_tokens", &OptimizerProgress::skipped_no_tokens},
    {"skipped_faulty", &OptimizerProgress::skipped_faulty},
};

absl::StatusOr<const nlohmann::json*> Part(const nlohmann::json& json, const char* name) {
  if (json.is_object() && json.contains(name)) return &json.at(name);
  return absl::DataLossError(absl::StrCat("the checkpoint's state of the run has no \"", name,
                                          "\"; it is not of this program"));
}

absl::StatusOr<int64_t> Number(const nlohmann::json& json, const char* name) {
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json* const value, Part(json, name));
  if (value->is_number_integer() && *value >= 0) return value->get<int64_t>();
  return absl::DataLossError(
      absl::StrCat("the checkpoint's state of the run: ", name, " is ", value->dump()));
}

// Adds "seed is 7, the checkpoint has 1234" where it is so.
absl::Status Compare(const nlohmann::json& run, const char* name, std::string_view shown,
                     int64_t own, std::vector<std::string>& differences) {
  HETERO_ASSIGN_OR_RETURN(const int64_t stored, Number(run, name));
  if (stored != own) {
    differences.push_back(absl::StrCat(shown, " is ", own, ", the checkpoint has ", stored));
  }
  return absl::OkStatus();
}

absl::Status CheckArchitecture(const nlohmann::json& json, const RunIdentity& identity) {
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json* const run, Part(json, kRun));
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json* const stored, Part(*run, kArchitecture));
  const std::vector<std::string> differences = Differences(identity.architecture, *stored);
  if (differences.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the checkpoint is of another model: ", absl::StrJoin(differences, "; ")));
}

// That so many steps have consumed so many samples.
absl::Status CheckBoundary(const nlohmann::json& run, int64_t consumed, int64_t iteration,
                           const data::BatchSchedule& batches) {
  if (batches.FirstSample(iteration) == consumed) return absl::OkStatus();
  if (batches.phases().size() > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the checkpoint's run has consumed ", consumed,
                     " samples, where no step of batch_size_schedule begins; nearest: ",
                     batches.FirstSample(iteration - 1), " or ", batches.FirstSample(iteration)));
  }
  HETERO_ASSIGN_OR_RETURN(const int64_t stored, Number(run, kBatch));
  return absl::InvalidArgumentError(absl::StrCat(
      "global_batch_size is ", batches.SizeOf(0), ", and the checkpoint's run has consumed ",
      consumed, " samples, which are no multiple of it; nearest: ", stored));
}

}  // namespace

RunIdentity IdentityOf(const proto::RunConfig& config, std::optional<int64_t> num_samples) {
  return {.seed = config.seed(),
          .batches = BatchScheduleOf(config),
          .num_samples = num_samples,
          .architecture = ArchitectureOf(config.model()),
          .has_lane_order = config.data().has_energon_order()};
}

nlohmann::json ToJson(const RunState& state, const RunIdentity& identity) {
  nlohmann::json progress = nlohmann::json::object();
  for (const auto& [name, field] : kProgress) progress[name] = state.progress.*field;
  nlohmann::json json = {{kIteration, state.iteration},
                         {kConsumed, identity.batches.FirstSample(state.iteration)},
                         {kPassedOver, state.passed_over_samples},
                         {kOptimizer, std::move(progress)},
                         {kRun,
                          {{kSeed, identity.seed},
                           {kBatch, identity.batches.SizeOf(state.iteration)},
                           {kSamples, identity.num_samples.value()},
                           {kArchitecture, identity.architecture}}}};
  if (identity.lane_order != nullptr) {
    nlohmann::json workers = nlohmann::json::array();
    for (const std::string& record :
         identity.lane_order->Save(identity.batches.FirstSample(state.iteration))) {
      workers.push_back(absl::Base64Escape(record));
    }
    json[kWorkers] = std::move(workers);
  }
  return json;
}

absl::Status ContinueSamples(const nlohmann::json& json, const RunState& state,
                             const RunIdentity& identity) {
  if (identity.lane_order == nullptr || state.iteration == 0) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json* const workers, Part(json, kWorkers));
  std::vector<std::string> records;
  for (const nlohmann::json& worker : *workers) {
    if (!worker.is_string() ||
        !absl::Base64Unescape(worker.get<std::string>(), &records.emplace_back())) {
      return absl::DataLossError(absl::StrCat("the checkpoint's state of the run: ", kWorkers,
                                              " has what is no record in base64"));
    }
  }
  HETERO_RETURN_IF_ERROR(
      identity.lane_order->Restore(identity.batches.FirstSample(state.iteration), records))
      .With("data.energon_order");
  return absl::OkStatus();
}

absl::StatusOr<RunState> ReadRunState(const nlohmann::json& json, const RunIdentity& identity) {
  HETERO_RETURN_IF_ERROR(CheckArchitecture(json, identity));
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json* const run, Part(json, kRun));
  std::vector<std::string> differences;
  HETERO_RETURN_IF_ERROR(Compare(*run, kSeed, "seed", identity.seed, differences));
  if (identity.num_samples.has_value()) {
    HETERO_RETURN_IF_ERROR(Compare(*run, kSamples, "the number of samples of data",
                                   *identity.num_samples, differences));
  }
  HETERO_ASSIGN_OR_RETURN(const int64_t consumed, Number(json, kConsumed));
  if (consumed > 0 && json.contains(kWorkers) != identity.has_lane_order) {
    differences.push_back(identity.has_lane_order
                              ? "data.energon_order is set, the checkpoint's samples came in our "
                                "own order"
                              : "data.energon_order is not set, the checkpoint's samples came in "
                                "it");
  }
  if (!differences.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::StrJoin(differences, "; "),
                     ": the run would go on with other samples. Give what the checkpoint has, or "
                     "set checkpoint.load.finetune=true to begin anew with its weights"));
  }
  RunState state{.iteration = identity.batches.NumSteps(consumed)};
  HETERO_RETURN_IF_ERROR(CheckBoundary(*run, consumed, state.iteration, identity.batches));
  // Runs without any did not always say so.
  if (json.contains(kPassedOver)) {
    HETERO_ASSIGN_OR_RETURN(state.passed_over_samples, Number(json, kPassedOver));
  }
  HETERO_ASSIGN_OR_RETURN(const nlohmann::json* const progress, Part(json, kOptimizer));
  for (const auto& [name, field] : kProgress) {
    HETERO_ASSIGN_OR_RETURN(state.progress.*field, Number(*progress, name));
  }
  return state;
}

absl::StatusOr<RunState> WantedRunState(const proto::LoadCheckpoint& settings,
                                        const nlohmann::json& json, const RunIdentity& identity) {
  if (settings.foreign() || settings.modules_size() > 0) return RunState();
  if (!settings.finetune()) return ReadRunState(json, identity);
  HETERO_RETURN_IF_ERROR(CheckArchitecture(json, identity));
  return RunState();
}

}  // namespace hetero
