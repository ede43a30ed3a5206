#include "hetero/trainer/checkpoint/load_rank.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/name_pattern.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/rounding_check.h"
#include "hetero/trainer/checkpoint/load_settings.h"
#include "hetero/trainer/checkpoint/param_groups.h"
#include "hetero/trainer/checkpoint/rank_state.h"
#include "hetero/trainer/exit_code.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

// Masters that the checkpoint did not have are what its weights are.
absl::Status RefreshMasters(const std::vector<std::string>& kept, bool all, RankTrainer& trainer) {
  const std::span<Engine::OwnStage> stages = trainer.engine().stages();
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string masters = MasterPrefix(stages[i].grid->name());
    const bool some =
        std::ranges::any_of(kept, [&](const std::string& key) { return key.starts_with(masters); });
    if (!all && !some) continue;
    HETERO_RETURN_IF_ERROR(trainer.module_optimizers()[i]->LoadMasters(trainer.engine().stream()));
  }
  return absl::OkStatus();
}

// Masters and weights were saved together: those that do not belong to each other are damage.
absl::Status CheckMasters(const CheckpointState& state, const LoadReport& report,
                          RankTrainer& trainer) {
  for (const Engine::OwnStage& stage : trainer.engine().stages()) {
    HETERO_RETURN_IF_ERROR(CheckRoundings(state, MasterPrefix(stage.grid->name()), report.kept,
                                          trainer.engine().stream()));
  }
  return absl::OkStatus();
}

// Told by one rank for all, before anything else is read: what is no checkpoint of ours is passed
// over like a damaged one.
absl::Status CheckWhole(RunCheckpoints& checkpoints, const std::filesystem::path& directory,
                        Exchange& exchange) {
  if (checkpoints.settings.load().foreign()) return absl::OkStatus();
  absl::Status whole;
  if (exchange.rank() == 0) {
    whole = ReadCommittedManifest(checkpoints.storage, directory).status();
  }
  return exchange.Agree(whole, "checkpoint.whole");
}

// Weights that the model has no place for, in words; empty without any. Of whoever asked for some
// modules alone nothing is said.
std::string DescribeUnusedWeights(const std::vector<std::string>& unused,
                                  const proto::LoadCheckpoint& settings) {
  if (settings.modules_size() > 0) return "";
  std::vector<std::string_view> weights;
  for (const std::string& name : unused) {
    // What is left are states of optimizers and objects.
    if (!IsOptimizerKey(name) && name.find('/') == name.npos) weights.push_back(name);
  }
  if (weights.empty()) return "";
  constexpr size_t kMaxNamed = 4;
  const std::span<const std::string_view> named =
      std::span(weights).first(std::min(weights.size(), kMaxNamed));
  return absl::StrCat(Counted(weights.size(), "weight"), " of the checkpoint, such as ",
                      absl::StrJoin(named, ", "),
                      ", have no place in this model: does it lack what they are of?");
}

// Between the parameter groups of all ranks, `own` of this one, and those that were loaded.
absl::StatusOr<std::vector<std::string>> ChangedSettings(
    const std::vector<CheckpointObject>& own, const std::vector<CheckpointObject>& loaded,
    const LoadReport& report, bool override, Exchange& exchange) {
  absl::Status matched;
  std::vector<std::string> lines;
  for (size_t i = 0; i < own.size() && matched.ok(); ++i) {
    if (!MatchesPattern(own[i].name, kGroupsPattern)) continue;
    absl::StatusOr<std::vector<std::string>> changed =
        MatchGroups(own[i].name, own[i].value, loaded[i].value,
                    GroupOptionsOf(own[i].name, report.kept, report.unused, override));
    matched = changed.status();
    if (matched.ok()) std::ranges::move(*changed, std::back_inserter(lines));
  }
  HETERO_RETURN_IF_ERROR(exchange.Agree(matched, "checkpoint.groups_match"));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                          exchange.AllGather(absl::StrJoin(lines, "\n"), "checkpoint.groups"));
  std::set<std::string> changes;
  for (const std::string& of_rank : all) {
    for (const std::string_view line : absl::StrSplit(of_rank, '\n', absl::SkipEmpty())) {
      changes.emplace(line);
    }
  }
  return std::vector<std::string>(changes.begin(), changes.end());
}

}  // namespace

absl::StatusOr<LoadedRun> LoadRank(RunCheckpoints& checkpoints, const Model& model, GlobalRank rank,
                                   RankTrainer& trainer, Exchange& exchange) {
  const proto::LoadCheckpoint& settings = checkpoints.settings.load();
  LoadSource& source = *checkpoints.source;
  const StateOptions wanted = WantedState(settings);
  const LoadOptions options = LoadOptionsOf(settings);
  Stream& stream = trainer.engine().stream();
  HETERO_ASSIGN_OR_RETURN(CheckpointState state, StateOfRank(model, trainer, rank, wanted));
  const std::vector<CheckpointObject> own = state.objects;
  LoadedRun loaded;
  const auto load = [&](const std::string& name) -> absl::Status {
    const std::filesystem::path directory = source.folder / name;
    HETERO_RETURN_IF_ERROR(CheckWhole(checkpoints, directory, exchange));
    for (CheckpointObject& object : state.objects) object.value = nullptr;
    HETERO_ASSIGN_OR_RETURN(loaded.report,
                            Load(checkpoints.storage, directory.native(), state, exchange, options,
                                 stream, trainer.engine().ledger()));
    HETERO_RETURN_IF_ERROR(
        exchange.Agree(CheckMasters(state, loaded.report, trainer), "checkpoint.masters"));
    HETERO_ASSIGN_OR_RETURN(
        loaded.changed_settings,
        ChangedSettings(own, state.objects, loaded.report, settings.override_groups(), exchange));
    HETERO_ASSIGN_OR_RETURN(loaded.state,
                            WantedRunState(settings, loaded.report.state, checkpoints.identity));
    return ContinueSamples(loaded.report.state, loaded.state, checkpoints.identity);
  };
  absl::StatusOr<ResumeReport> resumed = ResumeFrom(source.plan, load);
  if (absl::IsDataLoss(resumed.status())) {
    return WithExitCode(Annotate(resumed.status(), "checkpoint.load"),
                        ExitCode::kCheckpointDamaged);
  }
  HETERO_RETURN_IF_ERROR(resumed.status()).With("checkpoint.load");
  loaded.warnings = std::move(resumed->warnings);
  if (resumed->checkpoint.empty()) return loaded;
  loaded.checkpoint = (source.folder / resumed->checkpoint).native();
  for (const std::string& key : loaded.report.kept) {
    loaded.warnings.push_back(absl::StrCat(key, " is not in the checkpoint and keeps its values"));
  }
  std::string unused = DescribeUnusedWeights(loaded.report.unused, settings);
  if (!unused.empty()) loaded.warnings.push_back(std::move(unused));
  HETERO_RETURN_IF_ERROR(RefreshMasters(loaded.report.kept, !wanted.optimizer, trainer));
  // Moments of 0 are those before the first step.
  if (!wanted.optimizer) loaded.state.progress.applied_steps = 0;
  trainer.optimizer().Continue(loaded.state.progress);
  return loaded;
}

std::vector<std::string> Describe(const LoadedRun& loaded, int64_t train_steps) {
  const int64_t step = loaded.state.iteration;
  std::vector<std::string> lines = loaded.warnings;
  if (loaded.checkpoint.empty()) {
    lines.push_back("there is no checkpoint: the run begins with new weights");
  } else if (step == 0) {
    lines.push_back(absl::StrCat("begins with the weights of ", loaded.checkpoint));
  } else {
    lines.push_back(
        absl::StrCat("goes on from ", loaded.checkpoint, ": step ", step, " of ", train_steps));
  }
  if (step >= train_steps && step > 0) {
    lines.push_back(
        absl::StrCat("nothing is left to train; --set train_steps=", 2 * step, " would go on"));
  }
  return lines;
}

absl::Status WriteResumeReport(RunCheckpoints& checkpoints, const LoadedRun& loaded) {
  nlohmann::json report = loaded.report.ToJson();
  report["checkpoint"] = loaded.checkpoint;
  report["step"] = loaded.state.iteration;
  report["schedule"] = "of the configuration";
  report["changed_settings"] = loaded.changed_settings;
  report["warnings"] = loaded.warnings;
  return ReplaceText(checkpoints.storage, checkpoints.run_folder / "resume_report.json",
                     absl::StrCat(report.dump(2), "\n"));
}

}  // namespace hetero
