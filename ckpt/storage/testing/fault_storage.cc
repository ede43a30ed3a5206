#include "hetero/ckpt/storage/testing/fault_storage.h"

#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/base/system_error.h"

namespace hetero {

namespace fs = std::filesystem;

using Kind = StorageFault::Kind;
using Operation = StorageOperation;

std::string_view StorageOperationName(StorageOperation operation) {
  switch (operation) {
    case Operation::kCreate:
      return "Create";
    case Operation::kAllocate:
      return "Allocate";
    case Operation::kWrite:
      return "Write";
    case Operation::kSync:
      return "Sync";
    case Operation::kClose:
      return "Close";
    case Operation::kCreateExclusive:
      return "CreateExclusive";
    case Operation::kRename:
      return "Rename";
    case Operation::kLink:
      return "Link";
    case Operation::kSyncDirectory:
      return "SyncDirectory";
    case Operation::kMakeDirectory:
      return "MakeDirectory";
    case Operation::kRemove:
      return "Remove";
    case Operation::kOpen:
      return "Open";
    case Operation::kRead:
      return "Read";
    case Operation::kList:
      return "List";
    case Operation::kFreeBytes:
      return "FreeBytes";
    case Operation::kKindOf:
      return "KindOf";
  }
  return "?";
}

FaultStorage::Verdict FaultStorage::Meet(Operation operation, const fs::path& path,
                                         const fs::path& to, RenameMode mode) {
  absl::MutexLock lock(&mutex_);
  const StorageCall call = {
      .operation = operation, .path = path, .to = to, .mode = mode, .index = std::ssize(calls_)};
  const absl::Status death = absl::AbortedError(
      absl::StrCat(path.native(), ": ", StorageOperationName(operation), ": the process is gone"));
  if (dead_) return {.status = death, .perform = false};
  const StorageFault fault = decide_(call);
  if (Changes(operation)) calls_.push_back(call);
  switch (fault.kind) {
    case Kind::kNone:
      return {};
    case Kind::kSkip:
      return {.perform = false};
    case Kind::kSigkill:
      raise(SIGKILL);
      return {};
    case Kind::kDeath:
    case Kind::kHalfAndDeath:
      dead_ = true;
      return {.status = death, .perform = false, .half = fault.kind == Kind::kHalfAndDeath};
    case Kind::kError:
    case Kind::kHalf:
      return {.status = SystemError(
                  fault.error, absl::StrCat(path.native(), ": ", StorageOperationName(operation))),
              .perform = false,
              .half = fault.kind == Kind::kHalf};
  }
  return {};
}

std::vector<StorageCall> FaultStorage::calls() const {
  absl::MutexLock lock(&mutex_);
  return calls_;
}

class FaultStorage::Writable : public WritableFile {
 public:
  Writable(FaultStorage& storage, fs::path path, std::unique_ptr<WritableFile> base)
      : storage_(storage), path_(std::move(path)), base_(std::move(base)) {}

  absl::Status Allocate(int64_t bytes) override {
    const Verdict verdict = storage_.Meet(Operation::kAllocate, path_);
    return verdict.perform ? base_->Allocate(bytes) : verdict.status;
  }

  absl::Status Write(int64_t offset, std::span<const std::byte> bytes) override {
    const Verdict verdict = storage_.Meet(Operation::kWrite, path_);
    if (verdict.half) {
      HETERO_RETURN_IF_ERROR(base_->Write(offset, bytes.first(bytes.size() / 2)));
    }
    return verdict.perform ? base_->Write(offset, bytes) : verdict.status;
  }

  absl::Status Sync() override {
    const Verdict verdict = storage_.Meet(Operation::kSync, path_);
    return verdict.perform ? base_->Sync() : verdict.status;
  }

  absl::Status Close() override {
    const Verdict verdict = storage_.Meet(Operation::kClose, path_);
    return verdict.perform ? base_->Close() : verdict.status;
  }

 private:
  FaultStorage& storage_;
  fs::path path_;
  std::unique_ptr<WritableFile> base_;
};

class FaultStorage::Readable : public ReadableFile {
 public:
  Readable(FaultStorage& storage, fs::path path, std::unique_ptr<ReadableFile> base)
      : storage_(storage), path_(std::move(path)), base_(std::move(base)) {}

  int64_t size() const override { return base_->size(); }

  absl::Status Read(int64_t offset, std::span<std::byte> out) const override {
    const Verdict verdict = storage_.Meet(Operation::kRead, path_);
    return verdict.perform ? base_->Read(offset, out) : verdict.status;
  }

 private:
  FaultStorage& storage_;
  fs::path path_;
  std::unique_ptr<ReadableFile> base_;
};

absl::StatusOr<std::unique_ptr<WritableFile>> FaultStorage::Create(const fs::path& path) {
  HETERO_RETURN_IF_ERROR(Meet(Operation::kCreate, path).status);
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, base_.Create(path));
  return std::make_unique<Writable>(*this, path, std::move(file));
}

absl::StatusOr<std::unique_ptr<WritableFile>> FaultStorage::OpenForWriting(const fs::path& path) {
  HETERO_RETURN_IF_ERROR(Meet(Operation::kOpen, path).status);
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, base_.OpenForWriting(path));
  return std::make_unique<Writable>(*this, path, std::move(file));
}

absl::Status FaultStorage::CreateExclusive(const fs::path& path, std::string_view text) {
  const Verdict verdict = Meet(Operation::kCreateExclusive, path);
  return verdict.perform ? base_.CreateExclusive(path, text) : verdict.status;
}

absl::StatusOr<std::unique_ptr<ReadableFile>> FaultStorage::Open(const fs::path& path) {
  HETERO_RETURN_IF_ERROR(Meet(Operation::kOpen, path).status);
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<ReadableFile> file, base_.Open(path));
  return std::make_unique<Readable>(*this, path, std::move(file));
}

absl::Status FaultStorage::Rename(const fs::path& from, const fs::path& to, RenameMode mode) {
  const Verdict verdict = Meet(Operation::kRename, from, to, mode);
  return verdict.perform ? base_.Rename(from, to, mode) : verdict.status;
}

absl::Status FaultStorage::Link(const fs::path& from, const fs::path& to) {
  const Verdict verdict = Meet(Operation::kLink, from, to);
  return verdict.perform ? base_.Link(from, to) : verdict.status;
}

absl::Status FaultStorage::SyncDirectory(const fs::path& path) {
  const Verdict verdict = Meet(Operation::kSyncDirectory, path);
  return verdict.perform ? base_.SyncDirectory(path) : verdict.status;
}

absl::StatusOr<std::vector<std::string>> FaultStorage::List(const fs::path& path) {
  HETERO_RETURN_IF_ERROR(Meet(Operation::kList, path).status);
  return base_.List(path);
}

absl::Status FaultStorage::MakeDirectory(const fs::path& path) {
  const Verdict verdict = Meet(Operation::kMakeDirectory, path);
  return verdict.perform ? base_.MakeDirectory(path) : verdict.status;
}

absl::Status FaultStorage::Remove(const fs::path& path) {
  const Verdict verdict = Meet(Operation::kRemove, path);
  return verdict.perform ? base_.Remove(path) : verdict.status;
}

absl::StatusOr<int64_t> FaultStorage::FreeBytes(const fs::path& path) {
  HETERO_RETURN_IF_ERROR(Meet(Operation::kFreeBytes, path).status);
  return base_.FreeBytes(path);
}

absl::StatusOr<PathKind> FaultStorage::KindOf(const fs::path& path) {
  HETERO_RETURN_IF_ERROR(Meet(Operation::kKindOf, path).status);
  return base_.KindOf(path);
}

}  // namespace hetero
