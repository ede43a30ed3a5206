#include "hetero/trainer/run_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero {

namespace fs = std::filesystem;

absl::StatusOr<RunFolder> RunFolder::Create(const fs::path& parent, absl::Time now,
                                            absl::TimeZone zone) {
  HETERO_ASSIGN_OR_RETURN(MadeFolders parents, MadeFolders::Create(parent));
  const fs::path base = parent / absl::FormatTime("%Y-%m-%d_%H-%M-%S", now, zone);
  fs::path folder = base;
  for (int suffix = 1; mkdir(folder.c_str(), 0777) != 0; ++suffix) {
    if (errno != EEXIST) {
      return SystemError(errno, absl::StrCat("cannot create folder ", folder.native()));
    }
    folder = absl::StrCat(base.native(), ".", suffix);
  }
  return RunFolder(std::move(parents), std::move(folder));
}

RunFolder::~RunFolder() {
  std::error_code error;
  if (!kept_) fs::remove_all(path_, error);
}

void RunFolder::Keep() {
  kept_ = true;
  parents_.Keep();
}

}  // namespace hetero
