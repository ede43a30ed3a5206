#ifndef HETERO_DATA_TAR_WRITER_H_
#define HETERO_DATA_TAR_WRITER_H_

// Writes tar files whose bytes depend on names and payloads only.

#include <filesystem>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/file/file.h"

namespace hetero::data {

// Members are ustar; names over 100 bytes and payloads of 8 GiB and more carry a pax header.
class TarWriter {
 public:
  static absl::StatusOr<TarWriter> Create(const std::filesystem::path& path);

  // Appends a regular file.
  absl::Status Add(std::string_view name, std::string_view payload);

  // Ends the archive and flushes it to the device. Precondition: not closed.
  absl::Status Close();

 private:
  explicit TarWriter(FileWriter file) : file_(std::move(file)) {}
  absl::Status AddMember(std::string_view name, std::string_view payload, char type, uint64_t size);

  FileWriter file_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_TAR_WRITER_H_
