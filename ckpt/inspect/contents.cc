#include "hetero/ckpt/inspect/contents.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/element_type.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/format/torch_metadata.h"
#include "hetero/ckpt/publish/completeness.h"
#include "hetero/ckpt/publish/names.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

int64_t NumElements(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t dim : shape) elements *= dim;
  return elements;
}

int64_t BytesOf(const Manifest& manifest) {
  int64_t bytes = 0;
  for (const ManifestFile& file : manifest.files) bytes += file.bytes;
  return bytes;
}

absl::StatusOr<Manifest> CompleteManifest(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, CheckComplete(storage, directory));
  absl::StatusOr<Manifest> manifest = ParseManifest(text);
  HETERO_RETURN_IF_ERROR(manifest).With((directory / kManifestName).native());
  return manifest;
}

CheckpointSummary Summarize(Storage& storage, const fs::path& directory) {
  CheckpointSummary summary = {.name = directory.filename().native()};
  if (KindOfCheckpoint(storage, directory) == CheckpointKind::kForeign) {
    const absl::StatusOr<std::string> backend = ReadText(storage, directory / kBackendName);
    const absl::Status checked = backend.ok() ? CheckBackend(*backend) : backend.status();
    summary.problem =
        checked.ok() ? "written by another program, no checksums" : std::string(checked.message());
    return summary;
  }
  const absl::StatusOr<Manifest> manifest = CompleteManifest(storage, directory);
  if (!manifest.ok()) {
    summary.problem = manifest.status().message();
    return summary;
  }
  summary.bytes = BytesOf(*manifest);
  summary.tensors = std::ssize(manifest->tensors);
  summary.world_size = manifest->world_size;
  for (const auto& [key, tensor] : manifest->tensors) {
    summary.elements += NumElements(tensor.shape);
  }
  return summary;
}

}  // namespace

absl::StatusOr<FolderContents> ListFolder(Storage& storage, const fs::path& folder) {
  FolderContents contents;
  HETERO_ASSIGN_OR_RETURN(contents.tracker, ReadTracker(storage, folder));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names, storage.List(folder));
  const bool names_one = contents.tracker.kind == Tracker::Kind::kIteration ||
                         contents.tracker.kind == Tracker::Kind::kRelease;
  const std::string tracked = names_one ? contents.tracker.CheckpointName() : "";
  std::vector<std::pair<int64_t, std::string>> found;
  for (const std::string& name : names) {
    const std::optional<int64_t> iteration = ParseIterationName(name);
    if (iteration.has_value()) found.emplace_back(*iteration, name);
    if (name == kReleaseName) found.emplace_back(-1, name);
    if (IsStagingName(name) || absl::StartsWith(name, kTrashPrefix)) {
      contents.unfinished.push_back(name);
    }
  }
  std::sort(found.begin(), found.end());
  for (const auto& [iteration, name] : found) {
    contents.checkpoints.push_back(Summarize(storage, folder / name));
    contents.checkpoints.back().tracked = name == tracked;
  }
  if (names_one && std::none_of(contents.checkpoints.begin(), contents.checkpoints.end(),
                                [](const CheckpointSummary& at) { return at.tracked; })) {
    contents.checkpoints.push_back({.name = tracked, .tracked = true, .problem = "is missing"});
  }
  return contents;
}

std::string FolderText(const FolderContents& contents) {
  std::string text;
  for (const CheckpointSummary& at : contents.checkpoints) {
    absl::StrAppend(&text, at.tracked ? "* " : "  ", at.name);
    if (at.problem.empty()) {
      absl::StrAppendFormat(&text, "  %.3f GB, %d tensors, %d elements, saved by %d ranks",
                            static_cast<double>(at.bytes) * 1e-9, at.tensors, at.elements,
                            at.world_size);
    } else {
      absl::StrAppend(&text, "  ", at.problem);
    }
    absl::StrAppend(&text, "\n");
  }
  for (const std::string& name : contents.unfinished) {
    absl::StrAppend(&text, "  ", name, "  not published\n");
  }
  switch (contents.tracker.kind) {
    case Tracker::Kind::kAbsent:
      absl::StrAppend(&text, "no tracker, so no run goes on from here: ", kTrackerName, "\n");
      break;
    case Tracker::Kind::kGarbled:
      absl::StrAppend(&text, "the tracker cannot be read: ", kTrackerName, "\n");
      break;
    default:
      absl::StrAppend(&text, "* is where a run goes on\n");
  }
  return text;
}

absl::StatusOr<std::string> CheckpointText(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(const std::string committed, ReadCommittedManifest(storage, directory));
  const absl::StatusOr<Manifest> manifest = ParseManifest(committed);
  HETERO_RETURN_IF_ERROR(manifest).With((directory / kManifestName).native());
  std::string text;
  int64_t elements = 0;
  for (const auto& [key, tensor] : manifest->tensors) {
    int64_t bytes = 0;
    for (const ManifestChunk& chunk : tensor.chunks) bytes += chunk.bytes;
    absl::StrAppend(&text, key, "  ", Name(tensor.type), "  [", absl::StrJoin(tensor.shape, ","),
                    "]  ", tensor.chunks.size(),
                    tensor.chunks.size() == 1 ? " chunk  " : " chunks  ", bytes, " bytes\n");
    elements += NumElements(tensor.shape);
  }
  for (const auto& [name, object] : manifest->objects) {
    absl::StrAppend(&text, name, "  object  ", object.bytes, " bytes\n");
  }
  absl::StrAppendFormat(
      &text,
      "iteration %d, save %s, %d ranks: %d tensors with %d elements, %d objects, %d files, "
      "%.3f GB\n",
      manifest->iteration, manifest->save_id, manifest->world_size, manifest->tensors.size(),
      elements, manifest->objects.size(), manifest->files.size(),
      static_cast<double>(BytesOf(*manifest)) * 1e-9);
  return text;
}

}  // namespace hetero
