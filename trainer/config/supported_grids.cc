#include "hetero/trainer/config/supported_grids.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "hetero/grid/config/from_proto.h"

namespace hetero {
namespace {

struct AxisSizeOf {
  std::string_view name;
  int64_t GridSpec::*size;
};

constexpr AxisSizeOf kWeightShards[] = {{"gtp_remat", &GridSpec::gtp_remat},
                                        {"expt_gtp_remat", &GridSpec::expt_gtp_remat}};
constexpr AxisSizeOf kContext[] = {{"cp", &GridSpec::cp}};

// In the order in which they are reported.
constexpr std::span<const AxisSizeOf> kUnsupported[] = {kWeightShards, kContext};

}  // namespace

std::vector<Violation> CheckSupportedSizes(const proto::RunConfig& config) {
  std::vector<Violation> violations;
  for (const std::span<const AxisSizeOf> axes : kUnsupported) {
    for (const proto::GridSpec& grid : config.grids()) {
      const GridSpec spec = FromProto(grid);
      for (const auto& [name, size] : axes) {
        if (spec.*size <= 1) continue;
        violations.push_back(Refuse(absl::StrCat(spec.name, ".", name),
                                    absl::StrCat(" is ", spec.*size, "; a run supports 1 only"),
                                    {"1"}));
      }
    }
  }
  return violations;
}

std::vector<GridSpec> SupportedGrids(const proto::RunConfig& config) {
  std::vector<GridSpec> specs;
  for (const proto::GridSpec& grid : config.grids()) {
    GridSpec& spec = specs.emplace_back(FromProto(grid));
    for (const std::span<const AxisSizeOf> axes : kUnsupported) {
      for (const auto& [name, size] : axes) spec.*size = std::min<int64_t>(spec.*size, 1);
    }
  }
  return specs;
}

}  // namespace hetero
