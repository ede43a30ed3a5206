#include "hetero/tensor/cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <cstring>

#include "absl/log/log.h"
#include "hetero/base/status.h"
#include "hetero/tensor/cuda/status.h"

namespace hetero::cuda {
namespace {

cudaStream_t Stream(void* handle) { return static_cast<cudaStream_t>(handle); }
cudaEvent_t Event(void* handle) { return static_cast<cudaEvent_t>(handle); }

// A destructor cannot report; an error here was left behind by earlier work, which reports it too.
void LogIfError(const absl::Status& status) {
  if (!status.ok()) LOG(ERROR) << status;
}

}  // namespace

absl::StatusOr<int> CountDevices() {
  int count = 0;
  HETERO_RETURN_IF_CUDA_ERROR(cudaGetDeviceCount(&count));
  return count;
}

absl::StatusOr<void*> Allocate(int ordinal, int64_t bytes) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  void* address = nullptr;
  const cudaError_t code = cudaMalloc(&address, bytes);
  if (code == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    return nullptr;
  }
  HETERO_RETURN_IF_CUDA_ERROR(code);
  HETERO_RETURN_IF_CUDA_ERROR(cudaMemsetAsync(address, 0, bytes, cudaStreamLegacy));
  // Streams of this library do not wait for the default stream.
  HETERO_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(cudaStreamLegacy));
  return address;
}

void Free(int ordinal, void* address) {
  LogIfError(ToStatus(cudaSetDevice(ordinal), "cudaSetDevice"));
  LogIfError(ToStatus(cudaFree(address), "cudaFree"));
}

absl::StatusOr<void*> AllocatePinned(int ordinal, int64_t bytes) {
  // On a thread that has none yet, the first device would get a context that nobody uses.
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  void* address = nullptr;
  HETERO_RETURN_IF_CUDA_ERROR(cudaHostAlloc(&address, bytes, cudaHostAllocPortable));
  std::memset(address, 0, bytes);
  return address;
}

void FreePinned(void* address) { LogIfError(ToStatus(cudaFreeHost(address), "cudaFreeHost")); }

absl::StatusOr<void*> CreateStream(int ordinal) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  cudaStream_t stream = nullptr;
  HETERO_RETURN_IF_CUDA_ERROR(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return stream;
}

void DestroyStream(int ordinal, void* stream) {
  LogIfError(ToStatus(cudaSetDevice(ordinal), "cudaSetDevice"));
  LogIfError(ToStatus(cudaStreamDestroy(Stream(stream)), "cudaStreamDestroy"));
}

absl::Status SynchronizeStream(int ordinal, void* stream) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  HETERO_RETURN_IF_CUDA_ERROR(cudaStreamSynchronize(Stream(stream)));
  return absl::OkStatus();
}

absl::StatusOr<void*> CreateEvent(int ordinal, bool timed) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  cudaEvent_t event = nullptr;
  HETERO_RETURN_IF_CUDA_ERROR(
      cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming));
  return event;
}

void DestroyEvent(int ordinal, void* event) {
  LogIfError(ToStatus(cudaSetDevice(ordinal), "cudaSetDevice"));
  LogIfError(ToStatus(cudaEventDestroy(Event(event)), "cudaEventDestroy"));
}

absl::Status RecordEvent(int ordinal, void* event, void* stream) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  HETERO_RETURN_IF_CUDA_ERROR(cudaEventRecord(Event(event), Stream(stream)));
  return absl::OkStatus();
}

absl::Status WaitForEvent(int ordinal, void* event, void* stream) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  HETERO_RETURN_IF_CUDA_ERROR(cudaStreamWaitEvent(Stream(stream), Event(event), 0));
  return absl::OkStatus();
}

absl::Status SynchronizeEvent(int ordinal, void* event) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  HETERO_RETURN_IF_CUDA_ERROR(cudaEventSynchronize(Event(event)));
  return absl::OkStatus();
}

absl::StatusOr<bool> IsEventDone(int ordinal, void* event) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  const cudaError_t code = cudaEventQuery(Event(event));
  if (code == cudaErrorNotReady) {
    static_cast<void>(cudaGetLastError());
    return false;
  }
  HETERO_RETURN_IF_CUDA_ERROR(code);
  return true;
}

absl::StatusOr<absl::Duration> TimeBetweenEvents(void* start, void* end) {
  float milliseconds = 0;
  HETERO_RETURN_IF_CUDA_ERROR(cudaEventElapsedTime(&milliseconds, Event(start), Event(end)));
  return absl::Milliseconds(milliseconds);
}

absl::Status CopyRows(int ordinal, const RowCopy& copy, void* stream) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(ordinal));
  if (copy.rows == 1 || (copy.to_pitch == copy.row_bytes && copy.from_pitch == copy.row_bytes)) {
    HETERO_RETURN_IF_CUDA_ERROR(cudaMemcpyAsync(copy.to, copy.from, copy.rows * copy.row_bytes,
                                                cudaMemcpyDefault, Stream(stream)));
    return absl::OkStatus();
  }
  HETERO_RETURN_IF_CUDA_ERROR(cudaMemcpy2DAsync(copy.to, copy.to_pitch, copy.from, copy.from_pitch,
                                                copy.row_bytes, copy.rows, cudaMemcpyDefault,
                                                Stream(stream)));
  return absl::OkStatus();
}

}  // namespace hetero::cuda
