#include "hetero/trainer/config/module_names.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/nearest_name.h"

namespace hetero {

void CheckModuleNames(std::string_view field,
                      const google::protobuf::RepeatedPtrField<std::string>& named,
                      std::span<const std::string> modules, Violations& violations) {
  const std::vector<std::string_view> known(modules.begin(), modules.end());
  for (int i = 0; i < named.size(); ++i) {
    const std::string& module = named[i];
    if (std::ranges::find(known, module) != known.end()) continue;
    const std::string path = absl::StrCat(field, "[", i, "]");
    Violation violation = Refuse(
        path, absl::StrCat(" is '", module, "', must be one of ", absl::StrJoin(known, ", ")));
    const std::string_view near = NearestName(module, known);
    if (!near.empty()) violation.corrections = {{{path, std::string(near)}}};
    violations.Add(std::move(violation));
  }
}

}  // namespace hetero
