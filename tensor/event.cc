#include "hetero/tensor/event.h"

#include <chrono>
#include <utility>

#include "hetero/base/status.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero {

Event::Event(Event&& other) noexcept { *this = std::move(other); }

Event& Event::operator=(Event&& other) noexcept {
  if (this != &other) {
    Free();
    device_ = other.device_;
    handle_ = std::exchange(other.handle_, nullptr);
    recorded_ = other.recorded_;
  }
  return *this;
}

Event::~Event() { Free(); }

void Event::Free() {
  if (handle_ != nullptr) cuda::DestroyEvent(device_.ordinal, handle_);
  handle_ = nullptr;
}

absl::StatusOr<Event> Event::Create(Device device, bool timed) {
  Event event;
  event.device_ = device;
  if (device.kind == DeviceKind::kCuda) {
    HETERO_ASSIGN_OR_RETURN(event.handle_, cuda::CreateEvent(device.ordinal, timed));
  }
  return event;
}

absl::Status Event::Record(Stream& stream) {
  if (handle_ != nullptr) return cuda::RecordEvent(device_.ordinal, handle_, stream.handle());
  recorded_ = absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  return absl::OkStatus();
}

absl::Status Event::MakeWait(Stream& stream) const {
  if (handle_ == nullptr) return absl::OkStatus();
  return cuda::WaitForEvent(stream.device().ordinal, handle_, stream.handle());
}

absl::Status Event::Synchronize() const {
  if (handle_ == nullptr) return absl::OkStatus();
  return cuda::SynchronizeEvent(device_.ordinal, handle_);
}

absl::StatusOr<bool> Event::IsDone() const {
  if (handle_ == nullptr) return true;
  return cuda::IsEventDone(device_.ordinal, handle_);
}

absl::StatusOr<absl::Duration> Event::TimeBetween(const Event& start, const Event& end) {
  if (start.handle_ != nullptr) return cuda::TimeBetweenEvents(start.handle_, end.handle_);
  return end.recorded_ - start.recorded_;
}

}  // namespace hetero
