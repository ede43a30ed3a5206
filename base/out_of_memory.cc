#include "hetero/base/out_of_memory.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"

namespace hetero {

std::string DescribeMemoryLimits() {
  struct Limit {
    decltype(RLIMIT_AS) resource;
    std::string_view what;
    std::string_view command;
  };
  std::string text;
  for (const Limit& limit :
       {Limit{RLIMIT_AS, "address space", "ulimit -v"}, Limit{RLIMIT_DATA, "data", "ulimit -d"}}) {
    rlimit set = {};
    if (getrlimit(limit.resource, &set) != 0 || set.rlim_cur == RLIM_INFINITY) continue;
    absl::StrAppend(&text, text.empty() ? "" : ", ", "the limit on ", limit.what, " is ",
                    set.rlim_cur >> 10, " KiB (", limit.command, ")");
  }
  return text;
}

absl::Status OutOfMemoryError(std::string_view what) {
  const std::string limits = DescribeMemoryLimits();
  if (limits.empty()) return absl::ResourceExhaustedError(what);
  return absl::ResourceExhaustedError(absl::StrCat(what, "; ", limits, ", raise it"));
}

}  // namespace hetero
