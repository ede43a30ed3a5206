#include "hetero/trainer/config/balance_rules.h"

#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/grid/module_grid.h"
#include "hetero/trainer/config/supported_grids.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {

std::vector<Violation> CheckBalance(const proto::RunConfig& config, const ModelGraph& graph) {
  constexpr std::string_view kField = "data.balance.images";
  if (!config.data().balance().images()) return {};
  const std::optional<std::string> encoder = ImageEncoder(graph);
  if (!encoder.has_value()) {
    return {Refuse(kField, " is true, the model has no encoder of images", {"false"})};
  }
  for (const GridSpec& spec : SupportedGrids(config)) {
    if (spec.name != *encoder || !Validate(spec).empty() || spec.num_lanes() > 1) continue;
    return {Refuse(kField,
                   absl::StrCat(" is true, ", *encoder,
                                " has 1 data-parallel rank, which has nobody to share images with"),
                   {"false"})};
  }
  return {};
}

}  // namespace hetero
