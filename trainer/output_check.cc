#include "hetero/trainer/output_check.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// An event file of a thousand steps with every value.
constexpr uint64_t kNeededBytes = uint64_t{1} << 20;

absl::Status CheckRoom(const fs::path& folder) {
  struct statvfs room = {};
  // What a file system does not tell is found out in writing.
  if (statvfs(folder.c_str(), &room) != 0) return absl::OkStatus();
  const uint64_t bytes = static_cast<uint64_t>(room.f_bavail) * room.f_frsize;
  if (bytes < kNeededBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(folder.native(), " has ", bytes,
                                                     " bytes free; at least ", kNeededBytes,
                                                     " are needed: delete something or name a "
                                                     "folder on another disk"));
  }
  return absl::OkStatus();
}

// Opens `path` for writing, as it is or new; a new file is taken away again.
absl::Status CheckFile(const fs::path& path) {
  bool made = true;
  // Without waiting for the reader of a pipe.
  constexpr int kFlags = O_WRONLY | O_CLOEXEC | O_NONBLOCK;
  int descriptor = open(path.c_str(), kFlags | O_CREAT | O_EXCL, 0644);
  if (descriptor < 0 && errno == EEXIST) {
    made = false;
    descriptor = open(path.c_str(), kFlags);
  }
  if (descriptor < 0) return SystemError(errno, absl::StrCat("cannot write ", path.native()));
  close(descriptor);
  if (made) unlink(path.c_str());
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckOutput(const fs::path& folder, const fs::path& trace) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return SystemError(error.value(),
                       absl::StrCat("logging.folder: cannot create ", folder.native()));
  }
  HETERO_RETURN_IF_ERROR(CheckFile(folder / absl::StrCat(".check.", getpid())))
      .With("logging.folder");
  HETERO_RETURN_IF_ERROR(CheckRoom(folder)).With("logging.folder");
  if (trace.empty()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(CheckFile(trace)).With("--trace");
  return CheckRoom(trace.parent_path());
}

}  // namespace hetero
