#include "hetero/grid/axis.h"

#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

constexpr std::array<std::string_view, kNumAxes> kNames = {
    "tp", "gtp_remat", "cp", "dp", "pp", "expt_tp", "ep", "expt_gtp_remat", "expt_dp"};

}  // namespace

std::string_view AxisName(Axis axis) { return kNames[static_cast<size_t>(axis)]; }

std::string AxisSet::ToString() const {
  std::vector<std::string_view> names;
  for (int i = 0; i < kNumAxes; ++i) {
    if (Contains(static_cast<Axis>(i))) names.push_back(kNames[static_cast<size_t>(i)]);
  }
  return absl::StrCat("{", absl::StrJoin(names, ", "), "}");
}

}  // namespace hetero
