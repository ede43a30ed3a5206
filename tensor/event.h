#ifndef HETERO_TENSOR_EVENT_H_
#define HETERO_TENSOR_EVENT_H_

// A point in a stream's work that other streams and the host can wait for. Off the GPU, work has
// run when the call that queued it returns, and nothing ever waits.

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Move-only. Errors of all: INTERNAL what the device ran into.
class Event {
 public:
  Event() = default;
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  ~Event();

  // Errors: FAILED_PRECONDITION no such GPU; UNIMPLEMENTED a GPU, and built without CUDA.
  static absl::StatusOr<Event> Create(Device device) { return Create(device, /*timed=*/false); }

  // One that TimeBetween takes; recording it costs the device a little more.
  static absl::StatusOr<Event> CreateTimed(Device device) { return Create(device, /*timed=*/true); }

  // The event's point becomes the end of what `stream` holds now.
  absl::Status Record(Stream& stream);

  // What is queued on `stream` from now on runs after the recorded point; the host goes on. For an
  // event that was never recorded nothing waits.
  absl::Status MakeWait(Stream& stream) const;

  // Blocks the calling thread until the recorded point has run.
  absl::Status Synchronize() const;

  // Whether the recorded point has run.
  absl::StatusOr<bool> IsDone() const;

  // Device time from one recorded point to another; elsewhere the time between the two calls of
  // Record, on a clock that nobody sets.
  // Precondition: both timed, recorded and done.
  static absl::StatusOr<absl::Duration> TimeBetween(const Event& start, const Event& end);

 private:
  static absl::StatusOr<Event> Create(Device device, bool timed);
  void Free();

  Device device_;
  void* handle_ = nullptr;
  absl::Duration recorded_;  // since some moment; off the GPU
};

}  // namespace hetero

#endif  // HETERO_TENSOR_EVENT_H_
