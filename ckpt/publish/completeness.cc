#include "hetero/ckpt/publish/completeness.h"

#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/publish/names.h"
#include "hetero/ckpt/publish/sha256.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Of a million chunks and more.
constexpr int64_t kMostManifestBytes = int64_t{4} << 30;
constexpr int64_t kMostSmallFileBytes = 1 << 16;

struct ListedFile {
  std::string name;
  int64_t size;
};

absl::StatusOr<std::vector<ListedFile>> FilesOf(const std::string& manifest, const fs::path& path) {
  const json parsed = json::parse(manifest, nullptr, /*allow_exceptions=*/false);
  const auto error = [&](std::string_view what) {
    return absl::DataLossError(absl::StrCat(path.native(), ": ", what));
  };
  if (!parsed.is_object()) return error("is no JSON object");
  const auto files = parsed.find("files");
  if (files == parsed.end() || !files->is_array()) return error("lists no files");
  std::vector<ListedFile> listed;
  for (const json& file : *files) {
    if (!file.is_array() || file.size() != 3 || !file[0].is_string() ||
        !file[1].is_number_integer()) {
      return error(absl::StrCat("entry ", listed.size(), " of its files is not [name, size, crc]"));
    }
    listed.push_back({.name = file[0], .size = file[1]});
    const std::string& name = listed.back().name;
    if (name.empty() || absl::StrContains(name, '/') || name == "." || name == "..") {
      return error(absl::StrCat("\"", name, "\" is no name of a file in its folder"));
    }
  }
  return listed;
}

// The first key of which a manifest says that it lies in a file, for messages.
std::string FirstKeyIn(const std::string& manifest, size_t file) {
  const json parsed = json::parse(manifest, nullptr, /*allow_exceptions=*/false);
  const auto in_file = [&](const json& at) {
    return at.is_array() && !at.empty() && at[0].is_number_integer() &&
           at[0].get<int64_t>() == static_cast<int64_t>(file);
  };
  if (!parsed.is_object()) return "";
  const json tensors = parsed.value("tensors", json::object());
  for (const auto& [key, tensor] : tensors.items()) {
    if (!tensor.is_object() || !tensor.contains("chunks")) continue;
    for (const json& chunk : tensor["chunks"]) {
      if (in_file(chunk)) return key;
    }
  }
  const json objects = parsed.value("objects", json::object());
  for (const auto& [name, at] : objects.items()) {
    if (in_file(at)) return name;
  }
  return "";
}

absl::StatusOr<std::vector<ListedFile>> CheckFiles(Storage& storage, const fs::path& directory,
                                                   const std::string& manifest) {
  HETERO_ASSIGN_OR_RETURN(const std::vector<ListedFile> files,
                          FilesOf(manifest, directory / kManifestName));
  for (size_t i = 0; i < files.size(); ++i) {
    const auto lost = [&](std::string_view what) {
      const std::string key = FirstKeyIn(manifest, i);
      return absl::DataLossError(
          absl::StrCat((directory / files[i].name).native(), what,
                       key.empty() ? "" : absl::StrCat("; it holds \"", key, "\"")));
    };
    const absl::StatusOr<std::unique_ptr<ReadableFile>> file =
        storage.Open(directory / files[i].name);
    if (absl::IsNotFound(file.status())) return lost(" is missing");
    HETERO_RETURN_IF_ERROR(file);
    if ((*file)->size() != files[i].size) {
      return lost(
          absl::StrCat(" has ", (*file)->size(), " bytes, the manifest says ", files[i].size));
    }
  }
  return files;
}

absl::StatusOr<std::string> ReadOrLost(Storage& storage, const fs::path& path, int64_t most) {
  absl::StatusOr<std::string> text = ReadText(storage, path, most);
  if (!absl::IsNotFound(text.status())) return text;
  return absl::DataLossError(absl::StrCat(path.native(), " is missing"));
}

}  // namespace

std::string CommitText(std::string_view manifest) {
  return absl::StrCat("sha256 ", Sha256Hex(manifest), " ", kManifestName, "\n");
}

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
  const std::string expected = CommitText(manifest);
  if (*commit == expected) return manifest;
  if (commit->size() != expected.size() || !absl::StartsWith(*commit, "sha256 ")) {
    return absl::DataLossError(absl::StrCat(
        commit_path.native(), ": not a complete checkpoint: it does not read \"sha256 <digits> ",
        kManifestName, "\""));
  }
  return absl::DataLossError(
      absl::StrCat((directory / kManifestName).native(),
                   ": not a complete checkpoint: ", absl::StripAsciiWhitespace(expected),
                   " is not what COMMIT says, ", absl::StripAsciiWhitespace(*commit)));
}

absl::StatusOr<std::string> CheckComplete(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(std::string manifest, ReadCommittedManifest(storage, directory));
  HETERO_RETURN_IF_ERROR(CheckFiles(storage, directory, manifest));
  return manifest;
}

absl::StatusOr<std::string> CheckStaged(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(std::string manifest,
                          ReadOrLost(storage, directory / kManifestName, kMostManifestBytes));
  HETERO_ASSIGN_OR_RETURN(const std::vector<ListedFile> files,
                          CheckFiles(storage, directory, manifest));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(directory));
  std::set<std::string> known = {std::string(kManifestName)};
  for (const ListedFile& file : files) known.insert(file.name);
  for (const std::string& name : names) {
    if (!known.contains(name)) {
      return absl::DataLossError(
          absl::StrCat((directory / name).native(), " is not in the manifest"));
    }
  }
  return manifest;
}

absl::Status CheckBackend(Storage& storage, const fs::path& directory) {
  const fs::path path = directory / kBackendName;
  const absl::StatusOr<std::string> text = ReadText(storage, path, kMostSmallFileBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(
        directory.native(), " is not a distributed checkpoint: it has no ", kBackendName));
  }
  HETERO_RETURN_IF_ERROR(text);
  const json parsed = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::DataLossError(path.native() + " is no JSON object");
  const json backend = parsed.value("sharded_backend", json());
  const json version = parsed.value("sharded_backend_version", json());
  if (backend == "torch_dist" && version == 1) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(path.native(), ": backend ", backend.dump(),
                                               " version ", version.dump(),
                                               "; \"torch_dist\" version 1 is read"));
}

}  // namespace hetero
