#include "hetero/ckpt/inspect/convert.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/safetensors/writer.h"

namespace hetero {

namespace fs = std::filesystem;

absl::StatusOr<int64_t> WriteAsSafetensors(const StoredTensors& tensors, Storage& storage,
                                           const fs::path& folder, const ConvertOptions& options) {
  std::vector<SafetensorsTensor> chosen;
  for (const auto& [key, head] : tensors.heads()) {
    if (!absl::StartsWith(key, options.prefix)) continue;
    chosen.push_back({.name = key, .type = head.type, .shape = head.shape});
  }
  if (chosen.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no tensor's name begins with \"", options.prefix, "\""));
  }
  HETERO_RETURN_IF_ERROR(storage.MakeDirectory(folder));
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> there, storage.List(folder));
  if (!there.empty()) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder.native(), " has files, such as ", there[0], "; name a new folder"));
  }
  std::vector<std::string> keys;
  for (const SafetensorsTensor& tensor : chosen) keys.push_back(tensor.name);
  HETERO_ASSIGN_OR_RETURN(
      SafetensorsPlan plan,
      PlanSafetensors(std::move(chosen), {.max_file_bytes = options.max_file_bytes}));
  HETERO_ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsWriter> writer,
                          SafetensorsWriter::Create(storage, folder, std::move(plan)));
  for (const std::string& key : keys) {
    if (options.before_each) {
      HETERO_RETURN_IF_ERROR(options.before_each(key));
    }
    HETERO_ASSIGN_OR_RETURN(const std::vector<std::byte> elements, tensors.Read(key));
    HETERO_RETURN_IF_ERROR(writer->Write(key, 0, elements));
  }
  HETERO_RETURN_IF_ERROR(writer->Close());
  return std::ssize(keys);
}

}  // namespace hetero
