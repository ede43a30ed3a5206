#include "hetero/optim/parameter_group.h"

#include <algorithm>

namespace hetero {

ParameterGroup GroupOf(const ParameterSpec& spec) {
  return {.expert = spec.gradient_group == GradientGroup::kExpert, .decays = spec.decay};
}

std::vector<ParameterGroup> GroupsOf(const ParameterTable& table) {
  std::vector<ParameterGroup> groups;
  for (const bool expert : {false, true}) {
    for (const bool decays : {true, false}) {
      const ParameterGroup group{.expert = expert, .decays = decays};
      const auto is_in = [&](const ParameterSpec& spec) {
        return spec.trainable && !spec.is_buffer && GroupOf(spec) == group;
      };
      if (std::ranges::any_of(table.specs(), is_in)) groups.push_back(group);
    }
  }
  return groups;
}

}  // namespace hetero
