#include "hetero/ckpt/safetensors/reader.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/nearest_name.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/safetensors/index.h"

namespace hetero {
namespace {

constexpr std::string_view kExtension = ".safetensors";

absl::StatusOr<std::string> ReadString(const ReadableFile& file, int64_t offset, int64_t bytes) {
  std::string text(bytes, '\0');
  HETERO_RETURN_IF_ERROR(file.Read(offset, std::as_writable_bytes(std::span(text))));
  return text;
}

absl::StatusOr<std::vector<std::string>> SafetensorsFilesIn(Storage& storage,
                                                            const std::filesystem::path& folder) {
  HETERO_ASSIGN_OR_RETURN(std::vector<std::string> names, storage.List(folder));
  std::erase_if(names, [](const std::string& name) { return !absl::EndsWith(name, kExtension); });
  return names;
}

// The file or index that a folder has.
absl::StatusOr<std::filesystem::path> FindIn(Storage& storage,
                                             const std::filesystem::path& folder) {
  const std::filesystem::path index = folder / kSafetensorsIndexName;
  if (storage.Exists(index)) return index;
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          SafetensorsFilesIn(storage, folder));
  if (names.size() == 1) return folder / names[0];
  return absl::NotFoundError(absl::StrCat("folder ", folder.native(), " has no ",
                                          kSafetensorsIndexName, " and ", names.size(), " *",
                                          kExtension, " files; name the file"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsReader>> SafetensorsReader::Open(
    Storage& storage, const std::filesystem::path& path) {
  std::filesystem::path found = path;
  if (storage.IsDirectory(path)) {
    HETERO_ASSIGN_OR_RETURN(found, FindIn(storage, path));
  }
  auto reader = std::make_unique<SafetensorsReader>();
  if (found.extension() == ".json") {
    HETERO_RETURN_IF_ERROR(reader->AddIndexed(storage, found));
  } else {
    HETERO_RETURN_IF_ERROR(reader->AddFile(storage, found));
  }
  return reader;
}

absl::Status SafetensorsReader::AddFile(Storage& storage, const std::filesystem::path& path) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<ReadableFile> file, storage.Open(path));
  const auto parse = [&]() -> absl::StatusOr<std::pair<SafetensorsHeader, int64_t>> {
    HETERO_ASSIGN_OR_RETURN(const std::string start,
                            ReadString(*file, 0, std::min(file->size(), kSafetensorsLengthBytes)));
    HETERO_ASSIGN_OR_RETURN(const int64_t length, ParseSafetensorsLength(start, file->size()));
    HETERO_ASSIGN_OR_RETURN(const std::string text,
                            ReadString(*file, kSafetensorsLengthBytes, length));
    const int64_t buffer_offset = kSafetensorsLengthBytes + length;
    HETERO_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            ParseSafetensorsHeader(text, file->size() - buffer_offset));
    return std::pair(std::move(header), buffer_offset);
  };
  absl::StatusOr<std::pair<SafetensorsHeader, int64_t>> parsed = parse();
  HETERO_RETURN_IF_ERROR(parsed.status()).With(path.native());

  auto& [header, buffer_offset] = *parsed;
  if (files_.empty()) metadata_ = std::move(header.metadata);
  for (SafetensorsTensor& tensor : header.tensors) {
    const auto [known, is_first] = file_of_.emplace(tensor.name, files_.size());
    if (!is_first) {
      return absl::DataLossError(absl::StrCat(path.native(), ": tensor ", tensor.name,
                                              " is also in ", files_[known->second].path.native()));
    }
    tensors_.emplace(tensor.name, std::move(tensor));
  }
  files_.push_back({.path = path, .file = std::move(file), .buffer_offset = buffer_offset});
  return absl::OkStatus();
}

absl::Status SafetensorsReader::AddIndexed(Storage& storage, const std::filesystem::path& index) {
  HETERO_ASSIGN_OR_RETURN(const std::string text, ReadText(storage, index));
  absl::StatusOr<std::map<std::string, std::string>> parsed = ParseSafetensorsIndex(text);
  HETERO_RETURN_IF_ERROR(parsed.status()).With(index.native());

  const std::filesystem::path folder = index.parent_path();
  std::set<std::string> names;
  for (const auto& [tensor, file] : *parsed) {
    if (!names.insert(file).second || storage.Exists(folder / file)) continue;
    return absl::DataLossError(absl::StrCat(index.native(), ": file ", file, ", which has tensor ",
                                            tensor, ", is absent"));
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> present,
                          SafetensorsFilesIn(storage, folder.empty() ? "." : folder));
  for (const std::string& name : present) {
    if (names.contains(name)) continue;
    return absl::DataLossError(absl::StrCat(index.native(), ": file ", name,
                                            " in its folder is not in the index; move it away, or "
                                            "name the file to be read"));
  }
  for (const std::string& name : names) HETERO_RETURN_IF_ERROR(AddFile(storage, folder / name));

  for (const auto& [name, tensor] : tensors_) {
    const File& file = files_[file_of_.at(name)];
    const auto said = parsed->find(name);
    if (said != parsed->end() && said->second == file.path.filename()) continue;
    return absl::DataLossError(absl::StrCat(
        index.native(), ": tensor ", name, " of ", file.path.filename().native(),
        said == parsed->end() ? " is not in the index" : " should be in " + said->second));
  }
  for (const auto& [name, file] : *parsed) {
    if (tensors_.contains(name)) continue;
    return absl::DataLossError(
        absl::StrCat(index.native(), ": tensor ", name, " is not in its file ", file));
  }
  return absl::OkStatus();
}

absl::StatusOr<const SafetensorsTensor*> SafetensorsReader::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return &found->second;
  std::vector<std::string_view> names;
  for (const auto& [other, tensor] : tensors_) names.push_back(other);
  const std::string_view nearest = NearestName(name, names);
  return absl::NotFoundError(
      absl::StrCat("no tensor ", name, " among the ", names.size(), " of ", files_[0].path.native(),
                   files_.size() > 1 ? " and the files beside it" : "",
                   nearest.empty() ? "" : absl::StrCat("; nearest: ", nearest)));
}

SafetensorsReader::Place SafetensorsReader::PlaceOf(std::string_view name) const {
  const File& file = files_[file_of_.find(name)->second];
  return {.path = file.path, .offset = file.buffer_offset + tensors_.find(name)->second.begin};
}

absl::Status SafetensorsReader::Read(std::string_view name, int64_t offset,
                                     std::span<std::byte> out) const {
  HETERO_ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, Find(name));
  const File& file = files_[file_of_.find(name)->second];
  const int64_t bytes = static_cast<int64_t>(out.size());
  if (offset < 0 || bytes > tensor->bytes() || offset > tensor->bytes() - bytes) {
    return absl::OutOfRangeError(absl::StrCat(file.path.native(), ": tensor ", name, " has ",
                                              tensor->bytes(), " bytes, asked for ", bytes,
                                              " from ", offset));
  }
  HETERO_RETURN_IF_ERROR(file.file->Read(file.buffer_offset + tensor->begin + offset, out))
      .With(absl::StrCat("tensor ", name));
  return absl::OkStatus();
}

}  // namespace hetero
