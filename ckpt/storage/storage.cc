#include "hetero/ckpt/storage/storage.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

namespace fs = std::filesystem;

bool Storage::Exists(const fs::path& path) {
  const absl::StatusOr<PathKind> kind = KindOf(path);
  return kind.ok() && *kind != PathKind::kAbsent;
}

bool Storage::IsDirectory(const fs::path& path) {
  const absl::StatusOr<PathKind> kind = KindOf(path);
  return kind.ok() && *kind == PathKind::kDirectory;
}

absl::Status Storage::RemoveTree(const fs::path& path) {
  const absl::Status removed = Remove(path);
  if (removed.ok() || absl::IsNotFound(removed)) return absl::OkStatus();
  if (!IsDirectory(path)) return removed;
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, List(path));
  absl::Status status;
  for (const std::string& name : names) status.Update(RemoveTree(path / name));
  if (status.ok()) status = Remove(path);
  return status;
}

absl::StatusOr<std::string> ReadText(Storage& storage, const fs::path& path, int64_t size_limit) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<ReadableFile> file, storage.Open(path));
  if (file->size() > size_limit) {
    return absl::DataLossError(absl::StrCat(path.native(), ": ", file->size(), " bytes, at most ",
                                            size_limit, " are expected"));
  }
  std::string text(file->size(), '\0');
  HETERO_RETURN_IF_ERROR(file->Read(0, std::as_writable_bytes(std::span(text))));
  return text;
}

absl::Status WriteText(Storage& storage, const fs::path& path, std::string_view text) {
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, storage.Create(path));
  HETERO_RETURN_IF_ERROR(file->Write(0, AsBytes(text)));
  HETERO_RETURN_IF_ERROR(file->Sync());
  return file->Close();
}

absl::Status ReplaceText(Storage& storage, const fs::path& path, std::string_view text) {
  fs::path beside = path;
  beside += ".tmp";
  HETERO_RETURN_IF_ERROR(WriteText(storage, beside, text));
  HETERO_RETURN_IF_ERROR(storage.Rename(beside, path, RenameMode::kReplace));
  return storage.SyncDirectory(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

}  // namespace hetero
