#ifndef HETERO_TRAINER_CHECKPOINT_PARAM_GROUPS_H_
#define HETERO_TRAINER_CHECKPOINT_PARAM_GROUPS_H_

// The parameter groups of a module's optimizers as Megatron-LM has them in checkpoints: an object
// for the optimizer of its dense parameters, one, with ".1" in its key, for that of its experts. A
// group is known by its settings and not by its place. What schedules set is no part of them: a run
// goes on with the schedules of its configuration.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/ckpt/checkpoint_tensor.h"
#include "hetero/optim/parameter_group.h"
#include "nlohmann/json.hpp"

namespace hetero {

// "mimo.language.optimizer.mimo.language.1.param_groups" with a list of groups, and beside it
// "param_state_sharding_type". Of a module without groups there are none. `main`: this rank writes
// them.
std::vector<CheckpointObject> GroupObjects(std::string_view module,
                                           std::span<const GroupSettings> groups, bool main);

// Fits the names of lists of groups. Checkpoints of earlier versions have none.
inline constexpr std::string_view kGroupsPattern = "mimo.*.param_groups/*";
inline constexpr std::string_view kShardingTypePattern = "mimo.*.param_state_sharding_type/*";

// Groups that one side alone may have: then they are differences and no errors.
struct GroupOptions {
  bool may_lack = false;     // those of the run: it trains what the checkpoint's did not
  bool may_be_left = false;  // those of the checkpoint: it trained what the run does not
};

// By the moments of the module that a load kept as they were, and those that it left.
GroupOptions GroupOptionsOf(std::string_view name, const std::vector<std::string>& kept,
                            const std::vector<std::string>& unused, bool override);

// What differs between groups of a run and the stored ones of the same object, whatever their
// order: "mimo...param_groups {wd_mult: 0}: eps 1e-08 -> 1e-06". `stored` is null where there are
// none.
// Errors: INVALID_ARGUMENT naming object and group: two stored groups are the same one, have done
// different numbers of updates, or a group is without its partner; DATA_LOSS what is no list of
// groups.
absl::StatusOr<std::vector<std::string>> MatchGroups(std::string_view name,
                                                     const nlohmann::json& own,
                                                     const nlohmann::json& stored,
                                                     const GroupOptions& options);

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_PARAM_GROUPS_H_
