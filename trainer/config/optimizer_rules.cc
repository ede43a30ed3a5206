#include "hetero/trainer/config/optimizer_rules.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/nearest_name.h"
#include "hetero/optim/config/from_proto.h"
#include "hetero/trainer/config/batch_schedule.h"

namespace hetero {
namespace {

using proto::RunConfig;

// What most recipes clip to.
constexpr std::string_view kUsualClip = "1";

std::string ElementPath(int index, std::string_view field) {
  return absl::StrCat("optimizer.per_module[", index, "].", field);
}

// The first of per_module that is of the module of `index`.
int FirstOfModule(const RunConfig& config, int index) {
  int first = 0;
  while (config.optimizer().per_module(first).module() !=
         config.optimizer().per_module(index).module()) {
    ++first;
  }
  return first;
}

}  // namespace

WeightDecayOptions WeightDecaySettingsOf(const RunConfig& config) {
  const int64_t run = config.has_train_samples()
                          ? config.train_samples()
                          : BatchScheduleOf(config).FirstSample(config.train_steps());
  return WeightDecayOf(config.optimizer(), std::max<int64_t>(run, 1));
}

void CheckOptimizer(const RunConfig& config, Violations& violations) {
  const proto::Optimizer& optimizer = config.optimizer();
  constexpr std::string_view kEnd = "optimizer.adamw.weight_decay";
  constexpr std::string_view kSchedule = "optimizer.weight_decay_schedule";
  if (optimizer.has_weight_decay_schedule() &&
      violations.Sound({kEnd, kSchedule, "train_steps", "train_samples", "global_batch_size",
                        "batch_size_schedule", "sequence_length"})) {
    for (Violation& violation : Validate(WeightDecaySettingsOf(config), kEnd)) {
      violations.Add(Below(kSchedule, std::move(violation)));
    }
  }
  for (int i = 0; i < optimizer.per_module_size(); ++i) {
    const std::string share = ElementPath(i, "clip_share");
    if (!optimizer.per_module(i).has_clip_share() || optimizer.has_clip_gradient_norm() ||
        !violations.Sound({share, "optimizer.clip_gradient_norm"})) {
      continue;
    }
    Violation violation =
        Refuse(share, absl::StrCat(" is ", ShortestText(optimizer.per_module(i).clip_share()),
                                   ", a share of optimizer.clip_gradient_norm, which is not set"));
    violation.corrections = {{{"optimizer.clip_gradient_norm", std::string(kUsualClip)}}};
    violations.Add(std::move(violation));
  }
}

void CheckOptimizerModules(const RunConfig& config, std::span<const std::string> modules,
                           Violations& violations) {
  const auto& elements = config.optimizer().per_module();
  std::vector<std::string_view> free;
  for (const std::string& module : modules) {
    const bool taken = std::ranges::any_of(
        elements, [&](const auto& element) { return element.module() == module; });
    if (!taken) free.push_back(module);
  }
  for (int i = 0; i < elements.size(); ++i) {
    const std::string path = ElementPath(i, "module");
    const std::string& module = elements[i].module();
    if (!violations.Sound({path})) continue;
    Violation violation;
    if (std::ranges::find(modules, module) == modules.end()) {
      violation = Refuse(
          path, absl::StrCat(" is '", module, "', must be one of ", absl::StrJoin(modules, ", ")));
    } else if (const int first = FirstOfModule(config, i); first < i) {
      violation = Refuse(path, absl::StrCat(" is ", module, ", and so is ",
                                            ElementPath(first, "module"), "; give it once"));
    } else {
      continue;
    }
    const std::string_view near = NearestName(module, free);
    for (const std::string_view other : free) {
      if (near.empty() || other == near)
        violation.corrections.push_back({{path, std::string(other)}});
    }
    violations.Add(std::move(violation));
  }
}

}  // namespace hetero
