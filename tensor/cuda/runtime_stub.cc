#include "absl/log/log.h"
#include "hetero/tensor/cuda/runtime.h"

namespace hetero::cuda {
namespace {

absl::Status BuiltWithoutCuda() {
  return absl::UnimplementedError(
      "this program was built without CUDA; build it with --config=cuda");
}

}  // namespace

absl::StatusOr<int> CountDevices() { return BuiltWithoutCuda(); }
absl::StatusOr<void*> Allocate(int, int64_t) { return BuiltWithoutCuda(); }
void Free(int, void*) { LOG(FATAL) << BuiltWithoutCuda(); }
absl::StatusOr<void*> AllocatePinned(int, int64_t) { return BuiltWithoutCuda(); }
void FreePinned(void*) { LOG(FATAL) << BuiltWithoutCuda(); }
absl::StatusOr<void*> CreateStream(int) { return BuiltWithoutCuda(); }
void DestroyStream(int, void*) { LOG(FATAL) << BuiltWithoutCuda(); }
absl::Status SynchronizeStream(int, void*) { return BuiltWithoutCuda(); }
absl::StatusOr<void*> CreateEvent(int, bool) { return BuiltWithoutCuda(); }
void DestroyEvent(int, void*) { LOG(FATAL) << BuiltWithoutCuda(); }
absl::Status RecordEvent(int, void*, void*) { return BuiltWithoutCuda(); }
absl::Status WaitForEvent(int, void*, void*) { return BuiltWithoutCuda(); }
absl::Status SynchronizeEvent(int, void*) { return BuiltWithoutCuda(); }
absl::StatusOr<bool> IsEventDone(int, void*) { return BuiltWithoutCuda(); }
absl::StatusOr<absl::Duration> TimeBetweenEvents(void*, void*) { return BuiltWithoutCuda(); }
absl::Status CopyRows(int, const RowCopy&, void*) { return BuiltWithoutCuda(); }

}  // namespace hetero::cuda
