#include "hetero/trainer/report/output_check.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"
#include "hetero/trainer/made_folders.h"

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

// Opens `path` for writing, as it is or new; a new file takes a byte and is taken away again.
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
  const int error = made && write(descriptor, "", 1) != 1 ? errno : 0;
  close(descriptor);
  if (made) unlink(path.c_str());
  return error == 0 ? absl::OkStatus()
                    : SystemError(error, absl::StrCat("cannot write ", path.native()));
}

}  // namespace

absl::Status CheckOutput(const fs::path& folder, const fs::path& trace) {
  const absl::StatusOr<MadeFolders> made = MadeFolders::Create(folder);
  HETERO_RETURN_IF_ERROR(made.status()).With("logging.folder");
  HETERO_RETURN_IF_ERROR(CheckFile(folder / absl::StrCat(".check.", getpid())))
      .With("logging.folder");
  HETERO_RETURN_IF_ERROR(CheckRoom(folder)).With("logging.folder");
  if (trace.empty()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(CheckFile(trace)).With("--trace");
  return CheckRoom(trace.parent_path());
}

}  // namespace hetero
