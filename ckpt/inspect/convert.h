#ifndef HETERO_CKPT_INSPECT_CONVERT_H_
#define HETERO_CKPT_INSPECT_CONVERT_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/inspect/tensors.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct ConvertOptions {
  // Tensors whose names begin with it; their names stay whole.
  std::string_view prefix = "";
  int64_t max_file_bytes = 5'000'000'000;
  // As much of a tensor is in memory at once, and of a checkpoint that is written a quarter of it
  // again. What many ranks wrote by columns is read a second time where two of them meet in a
  // block.
  int64_t memory_bytes = int64_t{64} << 20;
  // Called with a key before a part of it is read; its error ends it.
  std::function<absl::Status(std::string_view key)> before_each = {};
};

// Writes tensors as safetensors files in `folder`, which is made and must be empty. Elements of
// less than a byte are in memory a whole tensor at a time. Returns how many. Errors: ALREADY_EXISTS
// the folder has files; NOT_FOUND no name begins so; those of reading and writing.
absl::StatusOr<int64_t> WriteAsSafetensors(const StoredTensors& tensors, Storage& storage,
                                           const std::filesystem::path& folder,
                                           const ConvertOptions& options);

// Publishes tensors as a checkpoint in `folder`, as `iteration`, and tracks it: a run can load it
// and Megatron can. Returns how many. Errors:
// UNIMPLEMENTED a type that `tensor` does not have; NOT_FOUND no name begins so; those of reading,
// Saver and Publisher.
absl::StatusOr<int64_t> PublishAsCheckpoint(const StoredTensors& tensors, Storage& storage,
                                            const std::filesystem::path& folder, int64_t iteration,
                                            const ConvertOptions& options);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_CONVERT_H_
