#include "hetero/tensor/stream.h"

#include <time.h>

#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"
#include "hetero/tensor/operation_timer.h"

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

OperationScope::OperationScope(Stream& stream, const OperationCost& cost)
    : stream_(stream),
      cost_(cost),
      outer_(stream.innermost_),
      timer_(stream.timer_),
      start_(Now()) {
  stream_.innermost_ = this;
  if (timer_ != nullptr) timer_->Begin(cost_, stream_);
}

OperationScope::~OperationScope() {
  if (timer_ != nullptr) timer_->End(stream_);
  const absl::Duration time = Now() - start_;
  stream_.ledger().AddOperation(cost_.name, cost_.flops, cost_.bytes, time - nested_);
  if (outer_ != nullptr) outer_->nested_ += time;
  stream_.innermost_ = outer_;
}

absl::Duration OperationScope::Now() const {
  return stream_.device().kind == DeviceKind::kCpu ? ThreadTime() : absl::ZeroDuration();
}

}  // namespace hetero
