#include "hetero/trainer/config/division_rules.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/grid/module_grid.h"
#include "hetero/params/shard.h"
#include "hetero/params/table.h"
#include "hetero/trainer/config/supported_grids.h"

namespace hetero {
namespace {

// An axis that divides parameters, and what of a grid of so many ranks it shares with the
// data-parallel axis of its view.
struct Division {
  std::string_view name;
  int64_t GridSpec::*size;
  ShardSpec::Axis ShardSpec::*axis;
  int64_t (GridSpec::*data_parallel)() const;
};

constexpr Division kDivisions[] = {
    {"tp", &GridSpec::tp, &ShardSpec::tp, &GridSpec::dp},
    {"ep", &GridSpec::ep, &ShardSpec::ep, &GridSpec::expt_dp},
    {"expt_tp", &GridSpec::expt_tp, &ShardSpec::expt_tp, &GridSpec::expt_dp},
};

// Of all parameters, the axes other than that of `division` aside.
absl::Status Divides(const Model& model, std::string_view module, const Division& division,
                     int64_t size) {
  ShardSpec shard;
  shard.*division.axis = {.rank = 0, .size = size};
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model.MakeTable(module, shard));
  for (const ParameterSpec& spec : table.specs()) {
    HETERO_RETURN_IF_ERROR(ShardOf(spec, shard).status());
  }
  return absl::OkStatus();
}

// Sizes that the ranks of the grid bear in place of the axis's own, the nearest first.
std::vector<int64_t> OtherSizes(const GridSpec& spec, const Division& division) {
  const int64_t size = spec.*division.size;
  const int64_t ranks = size * (spec.*division.data_parallel)();
  std::vector<int64_t> sizes;
  for (int64_t other = 1; other <= ranks; ++other) {
    if (ranks % other == 0 && other != size) sizes.push_back(other);
  }
  std::ranges::stable_sort(sizes, {}, [&](int64_t other) { return std::abs(other - size); });
  return sizes;
}

// Without the advice that knows of one parameter alone.
std::string Reason(const absl::Status& status) {
  const std::string message(status.message());
  return message.substr(0, message.rfind("; nearest: "));
}

void CheckAxis(const GridSpec& spec, const Model& model, const Division& division,
               std::vector<Violation>& violations) {
  const int64_t size = spec.*division.size;
  if (size == 1) return;
  const absl::Status status = Divides(model, spec.name, division, size);
  if (status.ok()) return;
  const std::string field = absl::StrCat(spec.name, ".", division.name);
  Violation violation = Refuse(field, absl::StrCat(" is ", size, ": ", Reason(status)));
  for (const int64_t other : OtherSizes(spec, division)) {
    if (!Divides(model, spec.name, division, other).ok()) continue;
    violation.corrections.push_back({{field, absl::StrCat(other)}});
    break;
  }
  violations.push_back(std::move(violation));
}

}  // namespace

std::vector<Violation> CheckDivisions(const proto::RunConfig& config, const Model& model,
                                      std::string_view module) {
  std::vector<Violation> violations;
  for (const GridSpec& spec : SupportedGrids(config)) {
    if (spec.name != module || !Validate(spec).empty()) continue;
    for (const Division& division : kDivisions) CheckAxis(spec, model, division, violations);
  }
  return violations;
}

}  // namespace hetero
