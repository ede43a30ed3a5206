#include "hetero/trainer/made_folders.h"

#include <unistd.h>

#include <system_error>

#include "absl/strings/str_cat.h"
#include "hetero/base/system_error.h"

namespace hetero {

namespace fs = std::filesystem;

absl::StatusOr<MadeFolders> MadeFolders::Create(const fs::path& folder) {
  MadeFolders folders;
  std::error_code error;
  for (fs::path path = folder; !path.empty() && !fs::exists(path, error) && !error;
       path = path.parent_path()) {
    folders.made_.push_back(path);
  }
  fs::create_directories(folder, error);
  if (error) {
    return SystemError(error.value(), absl::StrCat("cannot create folder ", folder.native()));
  }
  return folders;
}

MadeFolders::~MadeFolders() {
  for (const fs::path& path : made_) rmdir(path.c_str());
}

}  // namespace hetero
