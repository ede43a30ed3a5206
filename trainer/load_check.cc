#include "hetero/trainer/load_check.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/match.h"
#include "hetero/ckpt/name_pattern.h"
#include "hetero/ckpt/plan/world_plan.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/publish/resume.h"
#include "hetero/ckpt/reader.h"
#include "hetero/ckpt/storage/posix_storage.h"
#include "hetero/ckpt/stored_match.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/trainer/checkpoint/load_settings.h"
#include "hetero/trainer/checkpoint/load_source.h"
#include "hetero/trainer/checkpoint/param_groups.h"
#include "hetero/trainer/checkpoint/rank_state.h"
#include "hetero/trainer/checkpoint/run_state.h"
#include "hetero/trainer/step/rank_trainer.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

// Names by their parts, each with the module that wants it.
class Owners {
 public:
  void Add(std::string_view key, std::string_view module) {
    modules_.emplace(PartsOf(key), module);
  }

  bool Has(std::string_view key) const { return modules_.contains(PartsOf(key)); }

  // The one module whose names begin with more parts of `key` than any other's; empty without one.
  std::string ModuleOf(std::string_view key) const {
    Parts beginning = PartsOf(key);
    if (const auto own = modules_.find(beginning); own != modules_.end()) return own->second;
    while (!beginning.empty()) {
      std::string owner;
      bool is_one = true;
      for (auto at = modules_.lower_bound(beginning);
           at != modules_.end() && BeginsWith(at->first, beginning); ++at) {
        is_one = owner.empty() || owner == at->second;
        owner = at->second;
        if (!is_one) break;
      }
      if (!owner.empty()) return is_one ? owner : "";
      beginning.pop_back();
    }
    return "";
  }

 private:
  using Parts = std::vector<std::string>;

  static Parts PartsOf(std::string_view key) { return absl::StrSplit(MatchingKey(key), '.'); }
  static bool BeginsWith(const Parts& parts, const Parts& beginning) {
    return parts.size() >= beginning.size() &&
           std::equal(beginning.begin(), beginning.end(), parts.begin());
  }

  std::map<Parts, std::string> modules_;
};

struct Wanted {
  WorldPlan plan;  // of all ranks
  Owners owners;   // of what is wanted, and of masters that need not be, being the weights
  std::map<std::string, nlohmann::json> objects = {};  // by name
};

absl::StatusOr<Wanted> WantedBy(const Job& job, const StopSignals& signals) {
  const StateOptions settings = WantedState(job.config.checkpoint().load());
  Wanted wanted;
  for (const std::string& module : job.model->graph().ModuleNames()) {
    // Also where it trains no longer.
    wanted.owners.Add(MasterPrefix(module), module);
  }
  std::vector<std::string> descriptions;
  for (int64_t r = 0; r < job.layout->world_size(); ++r) {
    if (signals.requested() != 0) return absl::CancelledError("the checkpoint was not checked");
    const GlobalRank rank(r);
    const std::unique_ptr<CommunicatorFactory> factory =
        LoopbackFactory(rank, job.layout->world_size());
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<RankTrainer> trainer,
        RankTrainer::Create(MakeEngineOptions(job, rank, ShapeOnlyDevice(job), *factory),
                            *job.optimizer));
    CheckpointState of_rank;
    for (const std::string& module : job.model->graph().ModuleNames()) {
      if (!settings.modules.empty() &&
          std::ranges::find(settings.modules, module) == settings.modules.end()) {
        continue;
      }
      StateOptions of_module = settings;
      of_module.modules = {module};
      HETERO_ASSIGN_OR_RETURN(CheckpointState state,
                              StateOfRank(*job.model, *trainer, rank, of_module));
      std::ranges::move(state.tensors, std::back_inserter(of_rank.tensors));
      for (CheckpointObject& object : state.objects) {
        wanted.owners.Add(object.name, module);
        wanted.objects.emplace(object.name, object.value);
        of_rank.objects.push_back(std::move(object));
      }
      of_module.use = StateUse::kSave;
      HETERO_ASSIGN_OR_RETURN(state, StateOfRank(*job.model, *trainer, rank, of_module));
      for (const CheckpointTensor& tensor : state.tensors) wanted.owners.Add(tensor.key, module);
    }
    descriptions.push_back(DescribeState(of_rank));
  }
  HETERO_ASSIGN_OR_RETURN(wanted.plan, MakeWorldPlan(descriptions, Distribution::kLoad));
  return wanted;
}

LoadCheck::Module& ModuleOf(std::string_view name, const Owners& owners, LoadCheck& check) {
  return *std::ranges::find(check.modules, owners.ModuleOf(name), &LoadCheck::Module::name);
}

void AddMatch(const MatchReport& match, const Owners& owners, LoadCheck& check) {
  const auto module_of = [&](std::string_view name) -> LoadCheck::Module& {
    return ModuleOf(name, owners, check);
  };
  for (const auto& [key, stored] : match.tensors) ++module_of(key).found;
  for (const Misfit& misfit : match.unlike) --module_of(misfit.name).found;
  for (const std::string& name : match.kept) module_of(name).kept.push_back(name);
  for (const std::string& name : match.unused) {
    if (!owners.Has(name)) module_of(name).unused.push_back(name);
  }
  for (const auto& [misfits, list] : {std::pair(&match.missing, &LoadCheck::Module::missing),
                                      std::pair(&match.unlike, &LoadCheck::Module::unlike),
                                      std::pair(&match.unwanted, &LoadCheck::Module::unwanted)}) {
    for (const Misfit& misfit : *misfits) {
      (module_of(misfit.name).*list).push_back(misfit.text);
    }
  }
  if (!check.fits() || match.idle_patterns.empty()) return;
  check.of_the_run.emplace_back(match.Refusal().message());
}

// Parameter groups of which the stored ones are others.
absl::Status AddGroups(Storage& storage, const std::filesystem::path& directory,
                       const CheckpointIndex& index, const MatchReport& match, const Wanted& wanted,
                       bool override, LoadCheck& check) {
  for (const auto& [name, own] : wanted.objects) {
    const auto stored = match.objects.find(name);
    if (stored == match.objects.end() || !MatchesPattern(name, kGroupsPattern)) continue;
    HETERO_ASSIGN_OR_RETURN(const nlohmann::json groups,
                            ReadStoredObject(storage, directory, index, name, *stored->second));
    const absl::Status matched =
        MatchGroups(name, own, groups, GroupOptionsOf(name, match.kept, match.unused, override))
            .status();
    if (absl::IsDataLoss(matched)) return matched;
    if (matched.ok()) continue;
    ModuleOf(name, wanted.owners, check).unlike.emplace_back(matched.message());
  }
  return absl::OkStatus();
}

}  // namespace

bool LoadCheck::fits() const {
  return of_the_run.empty() && std::ranges::all_of(modules, &Module::fits);
}

std::string LoadCheck::ToString() const {
  std::string text;
  for (const std::string& warning : warnings) absl::StrAppend(&text, warning, "\n");
  if (checkpoint.empty()) {
    return absl::StrCat(text, "there is no checkpoint: the run begins with new weights");
  }
  absl::StrAppend(&text, checkpoint, fits() ? " fits this run" : " does not fit this run");
  for (const std::string& reason : of_the_run) absl::StrAppend(&text, "\n  ", reason);
  for (const Module& module : modules) {
    if (module.name.empty() && module.unused.empty()) continue;
    absl::StrAppend(&text, "\n", module.name.empty() ? "of no module" : module.name, ": ",
                    Counted(module.found, "tensor"), " found, ", module.missing.size(),
                    " missing, ", module.kept.size(), " missing and kept, ", module.unlike.size(),
                    " of another shape or type, ", module.unused.size(), " unused");
    for (const auto& [what, names] :
         {std::pair("missing", &module.missing), std::pair("unlike", &module.unlike),
          std::pair("may not be unused", &module.unwanted), std::pair("kept", &module.kept),
          std::pair("unused", &module.unused)}) {
      for (const std::string& name : *names) absl::StrAppend(&text, "\n  ", what, ": ", name);
    }
  }
  return text;
}

absl::StatusOr<LoadCheck> CheckLoad(const Job& job, const std::filesystem::path& working_folder,
                                    const StopSignals& signals) {
  const proto::LoadCheckpoint& settings = job.config.checkpoint().load();
  const RunIdentity identity = IdentityOf(job.config, /*num_samples=*/std::nullopt);
  PosixStorage storage;
  HETERO_ASSIGN_OR_RETURN(const LoadSource source,
                          FindLoadSource(storage, job.config, working_folder));
  LoadCheck check;
  const auto look = [&](const std::string& name) -> absl::Status {
    const std::filesystem::path directory = source.folder / name;
    if (!settings.foreign()) {
      HETERO_RETURN_IF_ERROR(ReadCommittedManifest(storage, directory).status());
    }
    HETERO_ASSIGN_OR_RETURN(const std::string bytes,
                            ReadIndexBytes(storage, directory, settings.foreign()));
    HETERO_ASSIGN_OR_RETURN(const CheckpointIndex index, ParseIndexBytes(bytes));
    const absl::Status run = WantedRunState(settings, index.state, identity).status();
    if (absl::IsDataLoss(run)) return run;
    HETERO_ASSIGN_OR_RETURN(const Wanted wanted, WantedBy(job, signals));
    if (!run.ok()) check.of_the_run.emplace_back(run.message());
    for (const std::string& module : job.model->graph().ModuleNames()) {
      check.modules.push_back({.name = module});
    }
    check.modules.emplace_back();
    const MatchReport match = MatchRequest(index, wanted.plan, LoadOptionsOf(settings));
    AddMatch(match, wanted.owners, check);
    return AddGroups(storage, directory, index, match, wanted, settings.override_groups(), check);
  };
  absl::StatusOr<ResumeReport> resumed = ResumeFrom(source.plan, look);
  HETERO_RETURN_IF_ERROR(resumed.status()).With("checkpoint.load");
  check.warnings = std::move(resumed->warnings);
  if (!resumed->checkpoint.empty()) {
    check.checkpoint = (source.folder / resumed->checkpoint).native();
  }
  return check;
}

}  // namespace hetero
