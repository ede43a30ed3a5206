#ifndef HETERO_CKPT_INSPECT_VERIFY_H_
#define HETERO_CKPT_INSPECT_VERIFY_H_

// Reads every byte of a checkpoint directory and says what is damaged.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

struct Damage {
  std::string file;  // a name in the directory
  std::string name;  // the tensor's key or the object's name, empty where none is hit
  std::string what;  // where, expected and found

  // "__0_0.distcp, tensor "w": chunk 1, block 0, 128 bytes at 4096: crc32 is .., expected .."
  std::string ToString() const;
};

struct VerifyReport {
  int64_t files = 0;    // that were read to their end
  int64_t bytes = 0;    // that were read of them
  int64_t tensors = 0;  // of the manifest
  int64_t objects = 0;
  std::vector<Damage> damages;  // by file and place
};

struct VerifyOptions {
  // Told after every piece how many bytes have been read; CANCELLED ends the reading.
  std::function<absl::Status(int64_t bytes)> progress = {};
};

// Compares COMMIT with the manifest, and sizes and checksums of all files, tensors, objects and
// blocks with those that the manifest says. Files that it does not list are damage too. Where the
// manifest cannot be believed, that is the only damage told.
// Errors: NOT_FOUND no checkpoint of ours is there; CANCELLED by `progress`.
absl::StatusOr<VerifyReport> VerifyCheckpoint(Storage& storage,
                                              const std::filesystem::path& directory,
                                              const VerifyOptions& options = {});

// Reads every `parts`-th tensor chunk and object, from number `part` on, of a checkpoint that is
// not yet published and compares their checksums. Where offsets allow it the bytes come from the
// device. Precondition: 0 <= part < parts. Errors: DATA_LOSS naming file, tensor, place and both
// checksums; those of reading.
absl::Status ReadBackPart(Storage& storage, const std::filesystem::path& directory, int64_t part,
                          int64_t parts);

}  // namespace hetero

#endif  // HETERO_CKPT_INSPECT_VERIFY_H_
