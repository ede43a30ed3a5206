#include "hetero/trainer/checkpoint/read_back.h"

#include <utility>

#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/ckpt/inspect/verify.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<ReadBack>> ReadBack::Start(Storage& storage,
                                                          std::filesystem::path directory,
                                                          int64_t part, int64_t parts) {
  std::unique_ptr<ReadBack> read_back(new ReadBack());
  HETERO_ASSIGN_OR_RETURN(
      read_back->thread_,
      StartThread("read-back of a checkpoint", [&storage, directory = std::move(directory), part,
                                                parts, self = read_back.get()] {
        self->status_ = ReadBackPart(storage, directory, part, parts);
        self->done_ = true;
      }));
  return read_back;
}

ReadBack::~ReadBack() {
  if (thread_.joinable()) thread_.join();
}

absl::Status ReadBack::Join() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

}  // namespace hetero
