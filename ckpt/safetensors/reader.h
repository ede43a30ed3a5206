#ifndef HETERO_CKPT_SAFETENSORS_READER_H_
#define HETERO_CKPT_SAFETENSORS_READER_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/safetensors/header.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// The tensors of one safetensors file, or of a model in several with an index. Reading is thread
// safe. The format has no checksums: a flipped bit in a tensor shows nowhere.
class SafetensorsReader {
 public:
  // `path` is a file, an index, or a folder with kSafetensorsIndexName or with one *.safetensors
  // file. Reads the headers of all files. Errors name the file: those of Storage::Open; DATA_LOSS
  // for a header that breaks a rule of the format, for a file that the index names and that is
  // absent, for one in its folder that it does not name, for a tensor in two files or in another
  // file than the index says; NOT_FOUND for a folder without any.
  static absl::StatusOr<std::unique_ptr<SafetensorsReader>> Open(Storage& storage,
                                                                 const std::filesystem::path& path);

  // By name.
  const std::map<std::string, SafetensorsTensor, std::less<>>& tensors() const { return tensors_; }

  // Of the first file.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // NOT_FOUND naming the nearest name there is.
  absl::StatusOr<const SafetensorsTensor*> Find(std::string_view name) const;

  // Where a tensor's bytes begin.
  struct Place {
    std::filesystem::path path;  // in the folder that was given
    int64_t offset = 0;          // in the file
  };
  // Precondition: tensors() has the name.
  Place PlaceOf(std::string_view name) const;

  // Fills `out` with the bytes of a tensor from `offset` on. OUT_OF_RANGE when it has fewer;
  // NOT_FOUND as Find; those of reading, naming file and tensor.
  absl::Status Read(std::string_view name, int64_t offset, std::span<std::byte> out) const;

 private:
  struct File {
    std::filesystem::path path;
    std::unique_ptr<ReadableFile> file;
    int64_t buffer_offset = 0;
  };

  absl::Status AddFile(Storage& storage, const std::filesystem::path& path);
  absl::Status AddIndexed(Storage& storage, const std::filesystem::path& index);

  std::vector<File> files_;
  std::map<std::string, SafetensorsTensor, std::less<>> tensors_;
  std::map<std::string, size_t, std::less<>> file_of_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_SAFETENSORS_READER_H_
