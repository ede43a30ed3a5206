#include "hetero/ckpt/safetensors/writer.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

SafetensorsWriter::SafetensorsWriter(Storage& storage, std::filesystem::path folder,
                                     SafetensorsPlan plan, bool is_creator)
    : storage_(storage),
      folder_(std::move(folder)),
      plan_(std::move(plan)),
      is_creator_(is_creator) {
  for (size_t i = 0; i < plan_.files.size(); ++i) {
    const SafetensorsHeader& header = plan_.files[i].header;
    heads_.push_back(SafetensorsHead(header));
    for (const SafetensorsTensor& tensor : header.tensors) {
      places_[tensor.name] = {.file = i,
                              .offset = static_cast<int64_t>(heads_[i].size()) + tensor.begin,
                              .bytes = tensor.bytes()};
    }
  }
}

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    Storage& storage, const std::filesystem::path& folder, SafetensorsPlan plan) {
  std::unique_ptr<SafetensorsWriter> writer(
      new SafetensorsWriter(storage, folder, std::move(plan), /*is_creator=*/true));
  for (size_t i = 0; i < writer->plan_.files.size(); ++i) {
    const SafetensorsPlan::File& planned = writer->plan_.files[i];
    const std::string_view head = writer->heads_[i];
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file,
                            storage.Create(folder / planned.name));
    HETERO_RETURN_IF_ERROR(
        file->Allocate(static_cast<int64_t>(head.size()) + planned.header.buffer_bytes()));
    HETERO_RETURN_IF_ERROR(
        file->Write(kSafetensorsLengthBytes, AsBytes(head.substr(kSafetensorsLengthBytes))));
    writer->files_.push_back(std::move(file));
  }
  return writer;
}

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Join(
    Storage& storage, const std::filesystem::path& folder, SafetensorsPlan plan) {
  std::unique_ptr<SafetensorsWriter> writer(
      new SafetensorsWriter(storage, folder, std::move(plan), /*is_creator=*/false));
  for (const SafetensorsPlan::File& planned : writer->plan_.files) {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file,
                            storage.OpenForWriting(folder / planned.name));
    writer->files_.push_back(std::move(file));
  }
  return writer;
}

absl::Status SafetensorsWriter::Write(std::string_view name, int64_t offset,
                                      std::span<const std::byte> bytes) {
  const auto found = places_.find(name);
  if (found == places_.end()) {
    return absl::NotFoundError(absl::StrCat("no tensor ", name, " in the files to be written"));
  }
  const Place& place = found->second;
  const int64_t count = static_cast<int64_t>(bytes.size());
  if (offset < 0 || count > place.bytes || offset > place.bytes - count) {
    return absl::OutOfRangeError(absl::StrCat("tensor ", name, " has ", place.bytes, " bytes, not ",
                                              count, " from ", offset));
  }
  HETERO_RETURN_IF_ERROR(files_[place.file]->Write(place.offset + offset, bytes))
      .With(absl::StrCat("tensor ", name));
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Close() {
  for (size_t i = 0; i < files_.size(); ++i) {
    HETERO_RETURN_IF_ERROR(files_[i]->Sync());
    if (is_creator_) {
      HETERO_RETURN_IF_ERROR(files_[i]->Write(
          0, AsBytes(std::string_view(heads_[i]).substr(0, kSafetensorsLengthBytes))));
      HETERO_RETURN_IF_ERROR(files_[i]->Sync());
    }
    HETERO_RETURN_IF_ERROR(files_[i]->Close());
  }
  if (!is_creator_) return absl::OkStatus();
  if (!plan_.index.empty()) {
    HETERO_RETURN_IF_ERROR(WriteText(storage_, folder_ / kSafetensorsIndexName, plan_.index));
  }
  return storage_.SyncDirectory(folder_.empty() ? "." : folder_);
}

}  // namespace hetero
