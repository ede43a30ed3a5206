#include "hetero/trainer/config/balance_rules.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/grid/module_grid.h"
#include "hetero/trainer/config/supported_grids.h"
#include "hetero/trainer/step/plan.h"

namespace hetero {
namespace {

std::vector<Violation> CheckImages(const proto::RunConfig& config, const ModelGraph& graph) {
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

std::vector<Violation> CheckLanguage(const proto::RunConfig& config,
                                     std::string_view sample_owner) {
  constexpr std::string_view kField = "data.balance.language";
  if (!config.data().balance().language()) return {};
  if (!config.data().has_packing()) {
    return {Refuse(kField,
                   " is true, the rows of a step all cost the same where each is one sample: "
                   "data.packing is not set",
                   {"false"})};
  }
  for (const GridSpec& spec : SupportedGrids(config)) {
    if (spec.name != sample_owner || !Validate(spec).empty()) continue;
    const int64_t microbatch = config.micro_batch_size() * spec.num_lanes();
    // Steps that grow come to more than one.
    if (config.has_batch_size_schedule() || config.global_batch_size() > microbatch) continue;
    return {Refuse(kField,
                   absl::StrCat(" is true, a step of ", config.global_batch_size(),
                                " rows has one microbatch, which has all of them"),
                   {"false"})};
  }
  return {};
}

}  // namespace

std::vector<Violation> CheckBalance(const proto::RunConfig& config, const ModelGraph& graph,
                                    std::string_view sample_owner) {
  std::vector<Violation> violations = CheckImages(config, graph);
  for (Violation& violation : CheckLanguage(config, sample_owner)) {
    violations.push_back(std::move(violation));
  }
  return violations;
}

}  // namespace hetero
