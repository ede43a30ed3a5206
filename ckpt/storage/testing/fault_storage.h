#ifndef HETERO_CKPT_STORAGE_TESTING_FAULT_STORAGE_H_
#define HETERO_CKPT_STORAGE_TESTING_FAULT_STORAGE_H_

// A storage over another whose calls fail as told, or end the process.

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

enum class StorageOperation {
  kCreate,
  kAllocate,
  kWrite,
  kSync,
  kClose,
  kCreateExclusive,
  kRename,
  kLink,
  kSyncDirectory,
  kMakeDirectory,
  kRemove,
  // What changes nothing.
  kOpen,
  kRead,
  kList,
  kFreeBytes,
  kKindOf,
};

std::string_view StorageOperationName(StorageOperation operation);

struct StorageCall {
  StorageOperation operation;
  std::filesystem::path path;
  std::filesystem::path to = {};  // of a rename, like `mode`, and of a link
  RenameMode mode = RenameMode::kReplace;
  int64_t index = 0;  // among the calls so far that change something
};

struct StorageFault {
  enum class Kind {
    kNone,
    kError,  // the call does nothing and fails with `error`
    kHalf,   // a write stores its first half and fails with `error`; others as kError
    kSkip,   // the call does nothing and claims success, as a mutant of the caller would
    kDeath,  // this call and all later ones do nothing and fail: the process is gone
    kHalfAndDeath,
    kSigkill,  // the process kills itself in the place of the call
  };
  Kind kind = Kind::kNone;
  int error = EIO;
};

class FaultStorage : public Storage {
 public:
  using Decide = std::function<StorageFault(const StorageCall&)>;

  // `decide` is asked before each call, one call at a time. `base` outlives this object.
  FaultStorage(Storage& base, Decide decide) : base_(base), decide_(std::move(decide)) {}

  // The n-th of the calls that change something, from 0, meets `fault`.
  FaultStorage(Storage& base, int64_t n, StorageFault fault)
      : FaultStorage(base, [n, fault](const StorageCall& call) {
          return call.index == n && Changes(call.operation) ? fault : StorageFault{};
        }) {}

  static bool Changes(StorageOperation operation) { return operation < StorageOperation::kOpen; }

  // The calls so far that change something, also those that failed.
  std::vector<StorageCall> calls() const;

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::filesystem::path& path) override;
  absl::StatusOr<std::unique_ptr<WritableFile>> OpenForWriting(
      const std::filesystem::path& path) override;
  absl::Status CreateExclusive(const std::filesystem::path& path, std::string_view text) override;
  absl::StatusOr<std::unique_ptr<ReadableFile>> Open(const std::filesystem::path& path) override;
  absl::Status Rename(const std::filesystem::path& from, const std::filesystem::path& to,
                      RenameMode mode) override;
  absl::Status Link(const std::filesystem::path& from, const std::filesystem::path& to) override;
  absl::Status SyncDirectory(const std::filesystem::path& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::filesystem::path& path) override;
  absl::Status MakeDirectory(const std::filesystem::path& path) override;
  absl::Status Remove(const std::filesystem::path& path) override;
  absl::StatusOr<int64_t> FreeBytes(const std::filesystem::path& path) override;
  absl::StatusOr<PathKind> KindOf(const std::filesystem::path& path) override;

 private:
  class Writable;
  class Readable;
  // What becomes of a call.
  struct Verdict {
    absl::Status status;
    bool perform = true;
    bool half = false;
  };

  Verdict Meet(StorageOperation operation, const std::filesystem::path& path,
               const std::filesystem::path& to = {}, RenameMode mode = RenameMode::kReplace);

  Storage& base_;
  Decide decide_;
  mutable absl::Mutex mutex_;
  std::vector<StorageCall> calls_ ABSL_GUARDED_BY(mutex_);
  bool dead_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace hetero

#endif  // HETERO_CKPT_STORAGE_TESTING_FAULT_STORAGE_H_
