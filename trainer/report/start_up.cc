#include "hetero/trainer/report/start_up.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/tensor/ops/cpu_target.h"
#include "hetero/trainer/report/grid_text.h"

namespace hetero {
namespace {

// "the CPU; oneDNN ..." or "GPU 0, which they share, in bf16".
std::string Where(std::span<const Device> devices, bool one_process, DType storage) {
  if (devices[0].kind == DeviceKind::kCpu) return absl::StrCat("the CPU; ", CpuDescription());
  const std::string precision = absl::StrCat(", in ", Name(storage));
  if (!one_process) return absl::StrCat("a GPU each", precision);
  if (devices.size() == 1) return absl::StrCat("GPU 0", precision);
  return devices[1].ordinal == devices[0].ordinal
             ? absl::StrCat("GPU 0, which they share", precision)
             : absl::StrCat("GPUs 0-", devices.size() - 1, ", one a rank", precision);
}

}  // namespace

std::string DescribeStart(const Layout& layout, std::string_view batch,
                          std::span<const Device> devices, bool one_process, DType storage,
                          std::string_view data) {
  const std::string_view ranks = !one_process               ? " ranks, each a process,"
                                 : layout.world_size() == 1 ? " rank, a thread of this process"
                                                            : " ranks, threads of this process";
  std::string text =
      absl::StrCat(layout.world_size(), ranks, " on ", Where(devices, one_process, storage), "\n");
  size_t width = 0;
  for (const Grid& grid : layout.grids()) width = std::max(width, grid.name().size());
  for (const Grid& grid : layout.grids()) {
    absl::StrAppendFormat(&text, "  %-*s  %s: %s\n", width, grid.name(), RanksText(grid),
                          SizesText(grid));
  }
  absl::StrAppend(&text, batch, "\ndata: ", data);
  return text;
}

}  // namespace hetero
