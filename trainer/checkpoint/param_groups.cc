#include "hetero/trainer/checkpoint/param_groups.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/key_style.h"

namespace hetero {
namespace {

using Json = nlohmann::json;

// By these a group is known; one that is absent counts as null.
constexpr std::string_view kIdentity[] = {"is_decoupled_lr", "is_expert_parallel", "lr_mult",
                                          "optimizer", "wd_mult"};
constexpr char kStep[] = "step";
// Follow from the schedules and the step.
constexpr std::string_view kCurrent[] = {"lr", "weight_decay", kStep};

Json ToJson(const GroupSettings& settings) {
  return {{"optimizer", "adam"},
          {"is_expert_parallel", settings.group.expert},
          {"is_decoupled_lr", false},
          {"lr_mult", settings.learning_rate_scale},
          {"wd_mult", settings.group.weight_decay_scale()},
          {"lr", settings.learning_rate},
          {"max_lr", settings.peak_learning_rate},
          {"min_lr", settings.minimum_learning_rate},
          {"weight_decay", settings.weight_decay},
          {"start_wd", settings.first_weight_decay},
          {"end_wd", settings.last_weight_decay},
          {"betas", {settings.adamw.beta1, settings.adamw.beta2}},
          {"eps", settings.adamw.epsilon},
          {kStep, settings.updates},
          {"params", Json::array()}};
}

Json Setting(const Json& group, std::string_view key) {
  const auto found = group.find(key);
  return found == group.end() ? Json() : *found;
}

// "{is_expert_parallel: true, lr_mult: 1.0, wd_mult: 0.0}"
std::string IdentityOf(const Json& group) {
  std::vector<std::string> settings;
  for (const std::string_view key : kIdentity) {
    Json value = Setting(group, key);
    if (value.is_null()) continue;
    // 1 and 1.0 are the same setting.
    if (value.is_number()) value = value.get<double>();
    settings.push_back(absl::StrCat(key, ": ", value.dump()));
  }
  return absl::StrCat("{", absl::StrJoin(settings, ", "), "}");
}

using Groups = std::map<std::string, const Json*>;

absl::StatusOr<Groups> ByIdentity(std::string_view name, const Json& list) {
  if (!list.is_array() || !std::ranges::all_of(list, &Json::is_object)) {
    return absl::DataLossError(absl::StrCat(name, " is no list of parameter groups"));
  }
  Groups groups;
  for (const Json& group : list) {
    const auto [place, is_first] = groups.emplace(IdentityOf(group), &group);
    if (!is_first) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has two groups with the same settings ", place->first));
    }
    const Json first = Setting(list[0], kStep), step = Setting(group, kStep);
    if (step != first) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": group ", IdentityOf(list[0]), " has done ", first.dump(),
                       " updates and group ", place->first, " ", step.dump()));
    }
  }
  return groups;
}

// Those of `groups` that `others` lack.
std::vector<std::string> Without(const Groups& groups, const Groups& others) {
  std::vector<std::string> alone;
  for (const auto& [identity, group] : groups) {
    if (!others.contains(identity)) alone.push_back(identity);
  }
  return alone;
}

void AddChanges(std::string_view name, const std::string& identity, const Json& own,
                const Json& stored, std::vector<std::string>& changes) {
  for (const auto& [key, value] : own.items()) {
    if (std::ranges::find(kCurrent, key) != std::end(kCurrent)) continue;
    const Json before = Setting(stored, key);
    if (before == value) continue;
    changes.push_back(
        absl::StrCat(name, " ", identity, ": ", key, " ", before.dump(), " -> ", value.dump()));
  }
}

}  // namespace

std::vector<CheckpointObject> GroupObjects(std::string_view module,
                                           std::span<const GroupSettings> groups, bool main) {
  std::vector<CheckpointObject> objects;
  for (const bool expert : {false, true}) {
    Json list = Json::array();
    for (const GroupSettings& settings : groups) {
      if (settings.group.expert == expert) list.push_back(ToJson(settings));
    }
    if (list.empty()) continue;
    const auto add = [&](std::string_view what, Json value) {
      objects.push_back({.name = absl::StrCat("mimo.", module, ".optimizer.mimo.", module,
                                              expert ? ".1." : ".", what, "/shard_0_1"),
                         .value = std::move(value),
                         .main = main});
    };
    add("param_groups", std::move(list));
    add("param_state_sharding_type", "fully_reshardable");
  }
  return objects;
}

GroupOptions GroupOptionsOf(std::string_view name, const std::vector<std::string>& kept,
                            const std::vector<std::string>& unused, bool override) {
  // "mimo.language.optimizer.state.exp_avg.", where moments of the same module are: masters may be
  // left where they are the weights themselves.
  const std::string moments =
      absl::StrCat(name.substr(0, name.find(".optimizer.")), ".optimizer.state.exp_avg.");
  const auto is_moment = [&](const std::string& key) {
    return CanonicalKey(key).starts_with(moments);
  };
  return {.may_lack = override || std::ranges::any_of(kept, is_moment),
          .may_be_left = override || std::ranges::any_of(unused, is_moment)};
}

absl::StatusOr<std::vector<std::string>> MatchGroups(std::string_view name, const Json& own,
                                                     const Json& stored,
                                                     const GroupOptions& options) {
  if (stored.is_null()) return std::vector<std::string>();
  HETERO_ASSIGN_OR_RETURN(const Groups wanted, ByIdentity(name, own));
  HETERO_ASSIGN_OR_RETURN(const Groups found, ByIdentity(name, stored));
  const std::vector<std::string> left = Without(found, wanted), lacking = Without(wanted, found);
  std::vector<std::string> differences;
  if (!left.empty()) {
    differences.push_back(absl::StrCat(name, ": this run has no group ",
                                       absl::StrJoin(left, " nor "), ", which the checkpoint has"));
  }
  if (!lacking.empty()) {
    differences.push_back(absl::StrCat(name, ": the checkpoint has no group ",
                                       absl::StrJoin(lacking, " nor "), ", which this run has"));
  }
  if ((!left.empty() && !options.may_be_left) || (!lacking.empty() && !options.may_lack)) {
    return absl::InvalidArgumentError(
        absl::StrCat(absl::StrJoin(differences, "\n"),
                     "; give optimizer the settings of the checkpoint's run, or set "
                     "checkpoint.load.override_groups=true to go on with those of this one"));
  }
  for (const auto& [identity, group] : wanted) {
    const auto partner = found.find(identity);
    if (partner != found.end()) AddChanges(name, identity, *group, *partner->second, differences);
  }
  return differences;
}

}  // namespace hetero
