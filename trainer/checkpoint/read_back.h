#ifndef HETERO_TRAINER_CHECKPOINT_READ_BACK_H_
#define HETERO_TRAINER_CHECKPOINT_READ_BACK_H_

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/ckpt/storage/storage.h"

namespace hetero {

// Part `part` of `parts` of a written checkpoint, read from the disk and compared with its
// checksums on a thread of its own, while steps go on.
class ReadBack {
 public:
  // `storage` outlives it.
  // Errors: those of StartThread.
  static absl::StatusOr<std::unique_ptr<ReadBack>> Start(Storage& storage,
                                                         std::filesystem::path directory,
                                                         int64_t part, int64_t parts);
  // Waits.
  ~ReadBack();

  ReadBack(const ReadBack&) = delete;
  ReadBack& operator=(const ReadBack&) = delete;

  bool IsDone() const { return done_; }

  // Waits. Errors: those of ReadBackPart.
  absl::Status Join();

 private:
  ReadBack() = default;

  absl::Status status_;  // once it is done
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_CHECKPOINT_READ_BACK_H_
