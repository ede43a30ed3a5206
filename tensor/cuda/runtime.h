#ifndef HETERO_TENSOR_CUDA_RUNTIME_H_
#define HETERO_TENSOR_CUDA_RUNTIME_H_

// What //tensor needs of the CUDA runtime, without its headers: streams and events are opaque
// handles. Built without --config=cuda, every function that can fail returns UNIMPLEMENTED and the
// others cannot be reached.

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hetero::cuda {

// Errors of all: FAILED_PRECONDITION no such GPU or driver; RESOURCE_EXHAUSTED out of memory;
// INTERNAL else, with the library's text.
absl::StatusOr<int> CountDevices();

// Zero-filled memory of the GPU; null if it has no room.
absl::StatusOr<void*> Allocate(int ordinal, int64_t bytes);
void Free(int ordinal, void* address);

// Zero-filled host memory that any GPU copies from and to without a detour.
absl::StatusOr<void*> AllocatePinned(int ordinal, int64_t bytes);
void FreePinned(void* address);

// A stream that never waits for the default stream.
absl::StatusOr<void*> CreateStream(int ordinal);
void DestroyStream(int ordinal, void* stream);
absl::Status SynchronizeStream(int ordinal, void* stream);

absl::StatusOr<void*> CreateEvent(int ordinal, bool timed);
void DestroyEvent(int ordinal, void* event);
absl::Status RecordEvent(int ordinal, void* event, void* stream);
absl::Status WaitForEvent(int ordinal, void* event, void* stream);
absl::Status SynchronizeEvent(int ordinal, void* event);
absl::StatusOr<bool> IsEventDone(int ordinal, void* event);
absl::StatusOr<absl::Duration> TimeBetweenEvents(void* start, void* end);

// Queues a copy of rows between any two of host and device memory; pitches and widths in bytes.
struct RowCopy {
  void* to = nullptr;
  int64_t to_pitch = 0;
  const void* from = nullptr;
  int64_t from_pitch = 0;
  int64_t row_bytes = 0;
  int64_t rows = 0;
};
absl::Status CopyRows(int ordinal, const RowCopy& copy, void* stream);

}  // namespace hetero::cuda

#endif  // HETERO_TENSOR_CUDA_RUNTIME_H_
