#include "hetero/tensor/stream.h"

#include <time.h>

#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<Stream>> Stream::Create(Device device, Arena& workspace) {
  void* handle = nullptr;
  if (device.kind == DeviceKind::kCuda) {
    HETERO_ASSIGN_OR_RETURN(handle, cuda::CreateStream(device.ordinal));
  }
  return std::unique_ptr<Stream>(new Stream(device, workspace, handle));
}

Stream::~Stream() {
  states_.clear();
  if (handle_ != nullptr) cuda::DestroyStream(device_.ordinal, handle_);
}

absl::Status Stream::Synchronize() {
  if (device_.kind != DeviceKind::kCuda) return absl::OkStatus();
  return cuda::SynchronizeStream(device_.ordinal, handle_);
}

absl::Duration ThreadTime() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return absl::DurationFromTimespec(now);
}

}  // namespace hetero
