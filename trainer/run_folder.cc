#include "hetero/trainer/run_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "hetero/base/system_error.h"

namespace hetero {

absl::StatusOr<std::filesystem::path> CreateRunFolder(const std::filesystem::path& parent,
                                                      absl::Time now, absl::TimeZone zone) {
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error) {
    return SystemError(error.value(), absl::StrCat("cannot create folder ", parent.native()));
  }
  const std::filesystem::path base = parent / absl::FormatTime("%Y-%m-%d_%H-%M-%S", now, zone);
  std::filesystem::path folder = base;
  for (int suffix = 1; mkdir(folder.c_str(), 0777) != 0; ++suffix) {
    if (errno != EEXIST) {
      return SystemError(errno, absl::StrCat("cannot create folder ", folder.native()));
    }
    folder = absl::StrCat(base.native(), ".", suffix);
  }
  return folder;
}

}  // namespace hetero
