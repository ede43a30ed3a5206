#include "hetero/ckpt/publish/completeness.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/torch_metadata.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Of a million chunks and more.
constexpr int64_t kMostManifestBytes = int64_t{4} << 30;
constexpr int64_t kMostSmallFileBytes = 1 << 16;

// The first key of which a manifest says that it lies in a file, for messages.
std::string FirstKeyIn(const Manifest& manifest, int file) {
  for (const auto& [key, tensor] : manifest.tensors) {
    for (const ManifestChunk& chunk : tensor.chunks) {
      if (chunk.file == file) return key;
    }
  }
  for (const auto& [name, object] : manifest.objects) {
    if (object.file == file) return name;
  }
  return "";
}

// The manifest of a text whose files are all there.
absl::StatusOr<Manifest> CheckFiles(Storage& storage, const fs::path& directory,
                                    std::string_view text) {
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  HETERO_RETURN_IF_ERROR(manifest).With((directory / kManifestName).native());
  for (int i = 0; i < std::ssize(manifest->files); ++i) {
    const ManifestFile& listed = manifest->files[i];
    const auto lost = [&](std::string_view what) {
      const std::string key = FirstKeyIn(*manifest, i);
      return absl::DataLossError(
          absl::StrCat((directory / listed.name).native(), what,
                       key.empty() ? "" : absl::StrCat("; it holds \"", key, "\"")));
    };
    const absl::StatusOr<std::unique_ptr<ReadableFile>> file =
        storage.Open(directory / listed.name);
    if (absl::IsNotFound(file.status())) return lost(" is missing");
    HETERO_RETURN_IF_ERROR(file);
    if ((*file)->size() != listed.bytes) {
      return lost(
          absl::StrCat(" has ", (*file)->size(), " bytes, the manifest says ", listed.bytes));
    }
  }
  return manifest;
}

absl::StatusOr<std::string> ReadOrLost(Storage& storage, const fs::path& path, int64_t most) {
  absl::StatusOr<std::string> text = ReadText(storage, path, most);
  if (!absl::IsNotFound(text.status())) return text;
  return absl::DataLossError(absl::StrCat(path.native(), " is missing"));
}

}  // namespace

CheckpointKind KindOfCheckpoint(Storage& storage, const fs::path& directory) {
  if (storage.Exists(directory / kManifestName)) return CheckpointKind::kOurs;
  return storage.Exists(directory / kBackendName) ? CheckpointKind::kForeign
                                                  : CheckpointKind::kNone;
}

bool IsCommitted(Storage& storage, const fs::path& directory) {
  return storage.Exists(directory / kCommitName);
}

absl::StatusOr<std::string> ReadCommittedManifest(Storage& storage, const fs::path& directory) {
  const fs::path commit_path = directory / kCommitName;
  const absl::StatusOr<std::string> commit = ReadOrLost(storage, commit_path, kMostSmallFileBytes);
  HETERO_RETURN_IF_ERROR(commit).With("not a complete checkpoint");
  HETERO_ASSIGN_OR_RETURN(std::string manifest,
                          ReadOrLost(storage, directory / kManifestName, kMostManifestBytes));
  HETERO_RETURN_IF_ERROR(CheckCommit(*commit, manifest))
      .With(absl::StrCat(directory.native(), ": not a complete checkpoint"));
  return manifest;
}

absl::StatusOr<std::string> CheckComplete(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(std::string text, ReadCommittedManifest(storage, directory));
  HETERO_RETURN_IF_ERROR(CheckFiles(storage, directory, text));
  return text;
}

absl::StatusOr<std::string> CheckStaged(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(std::string text,
                          ReadOrLost(storage, directory / kManifestName, kMostManifestBytes));
  HETERO_ASSIGN_OR_RETURN(const Manifest manifest, CheckFiles(storage, directory, text));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(directory));
  std::set<std::string, std::less<>> known = {std::string(kManifestName)};
  for (const ManifestFile& file : manifest.files) known.insert(file.name);
  for (const std::string& name : names) {
    if (!known.contains(name)) {
      return absl::DataLossError(
          absl::StrCat((directory / name).native(), " is not in the manifest"));
    }
  }
  return text;
}

}  // namespace hetero
