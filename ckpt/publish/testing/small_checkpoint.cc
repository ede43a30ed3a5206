#include "hetero/ckpt/publish/testing/small_checkpoint.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/publish/completeness.h"

namespace hetero {
namespace {

namespace fs = std::filesystem;

// Names and texts of all files but the manifest.
std::vector<std::pair<std::string, std::string>> Files(int64_t iteration,
                                                       std::string_view save_id) {
  std::vector<std::pair<std::string, std::string>> files;
  for (int i = 0; i < 2; ++i) {
    std::string text;
    for (int line = 0; line < 8; ++line) {
      absl::StrAppend(&text, "file ", i, " line ", line, " of iteration ", iteration, " by save ",
                      save_id, "\n");
    }
    files.emplace_back(absl::StrCat("data_", i, ".txt"), text);
  }
  files.emplace_back("metadata.json",
                     R"({"sharded_backend": "torch_dist", "sharded_backend_version": 1})");
  return files;
}

}  // namespace

absl::Status WriteSmallCheckpoint(Storage& storage, const fs::path& directory, int64_t iteration,
                                  std::string_view save_id) {
  Manifest manifest;
  manifest.iteration = iteration;
  manifest.save_id = save_id;
  for (const auto& [name, text] : Files(iteration, save_id)) {
    HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file,
                            storage.Create(directory / name));
    HETERO_RETURN_IF_ERROR(file->Allocate(std::ssize(text)));
    const int64_t half = std::ssize(text) / 2;
    HETERO_RETURN_IF_ERROR(file->Write(half, AsBytes(text).subspan(half)));
    HETERO_RETURN_IF_ERROR(file->Write(0, AsBytes(text).first(half)));
    HETERO_RETURN_IF_ERROR(file->Sync());
    HETERO_RETURN_IF_ERROR(file->Close());
    const int index = static_cast<int>(manifest.files.size());
    manifest.tensors[absl::StrCat("key", index)] = {
        .type = ElementType::kU8,
        .shape = {std::ssize(text)},
        .chunks = {{.file = index,
                    .bytes = std::ssize(text),
                    .box = {.offset = {0}, .size = {std::ssize(text)}}}}};
    manifest.files.push_back({.name = name, .bytes = std::ssize(text)});
  }
  return WriteText(storage, directory / kManifestName, ManifestText(manifest));
}

absl::StatusOr<int64_t> VerifySmallCheckpoint(Storage& storage, const fs::path& directory) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, CheckComplete(storage, directory));
  HETERO_ASSIGN_OR_RETURN(const Manifest manifest, ParseManifest(text));
  const int64_t iteration = manifest.iteration;
  for (const auto& [name, expected] : Files(iteration, manifest.save_id)) {
    HETERO_ASSIGN_OR_RETURN(const std::string actual, ReadText(storage, directory / name));
    if (actual != expected) {
      return absl::DataLossError(absl::StrCat((directory / name).native(), " is not of iteration ",
                                              iteration, ": ", actual));
    }
  }
  return iteration;
}

}  // namespace hetero
