#ifndef HETERO_CKPT_SAFETENSORS_WRITER_H_
#define HETERO_CKPT_SAFETENSORS_WRITER_H_

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
#include "hetero/ckpt/safetensors/index.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// Writes the files of a plan, tensor by tensor or range by range, in any order. Ranks that each
// have some rows of a tensor write them at their places in the same files: one creates the files,
// the others join once Create has returned on that one, and the creator closes when Close has
// returned on all others. Until then no reader takes a file for whole: its length of the header,
// which Close of the creator writes last, is 0.
class SafetensorsWriter {
 public:
  // Makes the files, with their whole size, in the place of those that have the names.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      Storage& storage, const std::filesystem::path& folder, SafetensorsPlan plan);

  // Opens the files that Create of another rank made of the same plan.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Join(
      Storage& storage, const std::filesystem::path& folder, SafetensorsPlan plan);

  // Writes bytes of a tensor from `offset` on. Thread safe. NOT_FOUND for a name that the plan does
  // not have, OUT_OF_RANGE for bytes behind the tensor, those of Storage.
  absl::Status Write(std::string_view name, int64_t offset, std::span<const std::byte> bytes);

  // Makes what was written durable; that of the creator also completes the files, writes the index
  // and makes the names durable. Precondition: not closed.
  absl::Status Close();

 private:
  struct Place {
    size_t file = 0;
    int64_t offset = 0;  // in the file
    int64_t bytes = 0;
  };

  SafetensorsWriter(Storage& storage, std::filesystem::path folder, SafetensorsPlan plan,
                    bool is_creator);

  Storage& storage_;
  std::filesystem::path folder_;
  SafetensorsPlan plan_;
  bool is_creator_;
  std::vector<std::string> heads_;
  std::map<std::string, Place, std::less<>> places_;
  std::vector<std::unique_ptr<WritableFile>> files_;
};

}  // namespace hetero

#endif  // HETERO_CKPT_SAFETENSORS_WRITER_H_
