#ifndef HETERO_OPTIM_PARAMETER_GROUP_H_
#define HETERO_OPTIM_PARAMETER_GROUP_H_

// Parameters of a module that are updated with the same settings.

#include <cstdint>
#include <vector>

#include "hetero/optim/module_options.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/table.h"

namespace hetero {

struct ParameterGroup {
  bool expert = false;  // its gradients are summed over the ranks that share experts
  bool decays = true;

  double weight_decay_scale() const { return decays ? 1 : 0; }

  bool operator==(const ParameterGroup&) const = default;
};

ParameterGroup GroupOf(const ParameterSpec& spec);

// Of the parameters of `table` that train, each once: those of experts behind the others, those
// that do not decay behind those that do.
std::vector<ParameterGroup> GroupsOf(const ParameterTable& table);

// What the next update of a group is done with, and what that follows from.
struct GroupSettings {
  ParameterGroup group;
  AdamWOptions adamw;   // but for its weight decay
  int64_t updates = 0;  // that were applied
  double learning_rate = 0;
  double learning_rate_scale = 1;  // times the rate of the schedule
  double peak_learning_rate = 0;   // of the schedule
  double minimum_learning_rate = 0;
  double weight_decay = 0;
  double first_weight_decay = 0;  // at the start of the run, before the scale of `group`
  double last_weight_decay = 0;   // likewise, at its end
};

}  // namespace hetero

#endif  // HETERO_OPTIM_PARAMETER_GROUP_H_
