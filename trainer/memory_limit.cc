#include "hetero/trainer/memory_limit.h"

#include <unistd.h>

#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Unset for "max", which means none, and where there is no such file.
std::optional<int64_t> ReadLimit(const fs::path& path) {
  std::string text;
  std::ifstream(path) >> text;
  int64_t bytes = 0;
  if (!absl::SimpleAtoi(text, &bytes)) return std::nullopt;
  return bytes;
}

// Lowers `limit` to that of `group` and of every group above it, `file` in each one's folder.
void LowerToGroups(const fs::path& mount, std::string_view group, std::string_view file,
                   MemoryLimit& limit) {
  // A group outside what the container sees is shown with "..".
  fs::path below = (fs::path("/") / group).lexically_normal().relative_path();
  while (true) {
    const fs::path path = mount / below / file;
    if (const std::optional<int64_t> bytes = ReadLimit(path); bytes && *bytes < limit.bytes) {
      limit = {.bytes = *bytes, .what = absl::StrCat(path.native(), " allows")};
    }
    if (below.empty()) return;
    below = below.parent_path();
  }
}

}  // namespace

MemoryLimit HostMemoryLimit(const ControlGroupFiles& files) {
  MemoryLimit limit{.bytes = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE),
                    .what = "the machine has"};
  std::ifstream membership(files.membership);
  // "0::/path" of version 2, "9:memory:/path" of version 1.
  for (std::string line; std::getline(membership, line);) {
    const std::vector<std::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[0] == "0" && parts[1].empty()) {
      LowerToGroups(files.mount, parts[2], "memory.max", limit);
    } else if (absl::c_linear_search(absl::StrSplit(parts[1], ','), "memory")) {
      LowerToGroups(files.mount / "memory", parts[2], "memory.limit_in_bytes", limit);
    }
  }
  return limit;
}

}  // namespace hetero
