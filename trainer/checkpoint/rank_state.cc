#include "hetero/trainer/checkpoint/rank_state.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/plan/name_map.h"
#include "hetero/params/state_tensor.h"
#include "hetero/trainer/checkpoint/param_groups.h"

namespace hetero {
namespace {

// Of ModuleOptimizer::States, and in files.
constexpr std::string_view kMaster = "param";
constexpr std::string_view kFirstMoment = "exp_avg";
constexpr std::string_view kSecondMoment = "exp_avg_sq";

std::string OptimizerPrefix(std::string_view module, std::string_view kind) {
  return absl::StrCat("mimo.", module, ".optimizer.state.", kind, ".");
}

// What this rank has of a module, in all its stages.
struct ModuleState {
  std::string name;
  std::vector<StateTensor> weights;
  std::vector<StateTensor> optimizer;
};

int64_t NumberIn(const Grid& grid, Family family, GlobalRank rank) {
  return RankIn(*grid.GroupOf(family, rank), rank)->value();
}

std::vector<ModuleState> CollectModules(RankTrainer& trainer, GlobalRank rank) {
  std::vector<ModuleState> modules;
  const std::span<Engine::OwnStage> stages = trainer.engine().stages();
  for (size_t i = 0; i < stages.size(); ++i) {
    const Grid& grid = *stages[i].grid;
    auto module = std::ranges::find(modules, grid.name(), &ModuleState::name);
    if (module == modules.end()) {
      module = modules.insert(modules.end(), {.name = std::string(grid.name())});
    }
    std::ranges::move(stages[i].parameters->States(NumberIn(grid, Family::kDpCp, rank),
                                                   NumberIn(grid, Family::kExptDp, rank)),
                      std::back_inserter(module->weights));
    std::ranges::move(trainer.module_optimizers()[i]->States(),
                      std::back_inserter(module->optimizer));
  }
  return modules;
}

// Those of `module.optimizer` that are of `kind`, without masters that are weights themselves when
// `use` is to load.
std::vector<StateTensor> OfKind(const ModuleState& module, std::string_view kind, StateUse use) {
  const std::string prefix = absl::StrCat(kind, ".");
  absl::flat_hash_map<std::string_view, DType> weight_types;
  if (use == StateUse::kLoad && kind == kMaster) {
    for (const StateTensor& weight : module.weights) {
      weight_types.emplace(weight.name, weight.local.dtype());
    }
  }
  std::vector<StateTensor> states;
  for (const StateTensor& state : module.optimizer) {
    if (!state.name.starts_with(prefix)) continue;
    const auto weight = weight_types.find(std::string_view(state.name).substr(prefix.size()));
    if (weight != weight_types.end() && weight->second == state.local.dtype()) continue;
    states.push_back(state);
  }
  return states;
}

bool IsWanted(std::string_view module, const std::vector<std::string>& wanted) {
  return wanted.empty() || std::ranges::find(wanted, module) != wanted.end();
}

}  // namespace

std::string MasterPrefix(std::string_view module) { return OptimizerPrefix(module, kMaster); }

bool IsOptimizerKey(std::string_view key) {
  // Behind "mimo.language.", "chained_0." or nothing, whoever wrote it.
  const std::vector<std::string_view> parts = absl::StrSplit(key, '.');
  return std::ranges::find(parts, "optimizer") != parts.end();
}

absl::StatusOr<CheckpointState> StateOfRank(const Model& model, RankTrainer& trainer,
                                            GlobalRank rank, const StateOptions& options) {
  CheckpointState state;
  const auto add = [&](const NameMap& names, std::span<const StateTensor> states,
                       std::string_view state_prefix, std::string_view key_prefix) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(std::vector<CheckpointTensor> tensors,
                            names.Apply(states, state_prefix, key_prefix));
    std::ranges::move(tensors, std::back_inserter(state.tensors));
    return absl::OkStatus();
  };
  for (const ModuleState& module : CollectModules(trainer, rank)) {
    if (!IsWanted(module.name, options.modules)) continue;
    HETERO_ASSIGN_OR_RETURN(std::vector<BoxMap> boxes, model.NamesIn(options.names, module.name));
    HETERO_ASSIGN_OR_RETURN(const NameMap names, NameMap::Create(std::move(boxes)));
    HETERO_RETURN_IF_ERROR(add(names, module.weights, "", ""));
    if (!options.optimizer) continue;
    for (const std::string_view kind : {kMaster, kFirstMoment, kSecondMoment}) {
      HETERO_RETURN_IF_ERROR(add(names, OfKind(module, kind, options.use), absl::StrCat(kind, "."),
                                 OptimizerPrefix(module.name, kind)));
    }
  }
  if (options.optimizer) state.objects = ObjectsOfRank(trainer, rank, options.modules);
  return state;
}

std::vector<CheckpointObject> ObjectsOfRank(RankTrainer& trainer, GlobalRank rank,
                                            const std::vector<std::string>& modules) {
  std::vector<CheckpointObject> objects;
  const std::span<Engine::OwnStage> stages = trainer.engine().stages();
  for (size_t i = 0; i < stages.size(); ++i) {
    const Grid& grid = *stages[i].grid;
    const auto is_same = [&](const Engine::OwnStage& stage) {
      return stage.grid->name() == grid.name();
    };
    // Of the stages of a module that lie here the first stands for all.
    if (std::ranges::any_of(stages.first(i), is_same) || !IsWanted(grid.name(), modules)) continue;
    std::ranges::move(GroupObjects(grid.name(), trainer.optimizer().Groups(i),
                                   /*main=*/rank == grid.first_rank()),
                      std::back_inserter(objects));
  }
  return objects;
}

}  // namespace hetero
