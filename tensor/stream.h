#ifndef HETERO_TENSOR_STREAM_H_
#define HETERO_TENSOR_STREAM_H_

// The queue a rank's operations go to. A CPU stream runs them at once on the calling thread, a
// CUDA stream queues them for its GPU; a shape-only stream records their cost and runs nothing.

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/device.h"

namespace hetero {

class OperationScope;
class OperationTimer;

// One thread owns a stream: kernels run on it in program order, so what one kernel releases of
// `workspace`, the scratch memory of kernels, the next may have at once. The stream does not own
// the workspace, which outlives it and belongs to no second stream.
class Stream {
 public:
  // Precondition: not a GPU, whose streams come from Create.
  Stream(Device device, Arena& workspace) : Stream(device, workspace, nullptr) {
    CHECK(device.kind != DeviceKind::kCuda);
  }
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // On any device.
  // Errors: FAILED_PRECONDITION no such GPU; UNIMPLEMENTED a GPU, and built without CUDA.
  static absl::StatusOr<std::unique_ptr<Stream>> Create(Device device, Arena& workspace);

  const Device& device() const { return device_; }
  bool shape_only() const { return device_.kind == DeviceKind::kShapeOnly; }
  Arena& workspace() { return workspace_; }
  CallLedger& ledger() { return ledger_; }

  // Operations from now on are also timed by `timer`, which outlives their scopes; null: no longer.
  void TimeOperations(OperationTimer* timer) { timer_ = timer; }

  // Waits until all that was queued has run.
  // Errors: INTERNAL with what a kernel or a copy ran into.
  absl::Status Synchronize();

  // The cudaStream_t; null on other devices.
  void* handle() const { return handle_; }

  // What a library keeps with a stream: handles, algorithms chosen for shapes. Made at the first
  // call by `static absl::StatusOr<std::unique_ptr<T>> T::Create(Stream&)`, freed with the stream.
  template <typename T>
  absl::StatusOr<T*> State() {
    static constexpr char kKey = 0;  // its address stands for T
    for (const auto& [key, state] : states_) {
      if (key == &kKey) return static_cast<T*>(state.get());
    }
    absl::StatusOr<std::unique_ptr<T>> state = T::Create(*this);
    if (!state.ok()) return state.status();
    T* const result = state->get();
    states_.emplace_back(&kKey, *std::move(state));
    return result;
  }

 private:
  Stream(Device device, Arena& workspace, void* handle)
      : device_(device), workspace_(workspace), handle_(handle) {}

  Device device_;
  Arena& workspace_;
  void* handle_;
  CallLedger ledger_;
  std::vector<std::pair<const void*, std::shared_ptr<void>>> states_;

  friend class OperationScope;
  OperationTimer* timer_ = nullptr;
  OperationScope* innermost_ = nullptr;  // of the operations that run now
};

// Processor time the calling thread has used: ranks share cores, so wall time of an operation would
// count its neighbours.
absl::Duration ThreadTime();

// What an operation must do and move at least: its distance to the floor is measured against it.
struct OperationCost {
  std::string_view name;  // a string literal: "rms_norm.forward"
  double flops = 0;       // multiply-add counts two
  double bytes = 0;       // read and written once each
};

// Accounts one operation on `stream`: construct after validation; on a shape-only stream
// launches() is false and the kernel must not run. The ledger's time is taken on the CPU only: what
// a GPU needs is known when it is done, so an OperationTimer takes it. The time of an operation is
// without that of operations inside its scope.
//
//   OperationScope scope(stream, {"silu.forward", 8.0 * n, 2.0 * x.num_bytes()});
//   if (!scope.launches()) return absl::OkStatus();
class OperationScope {
 public:
  OperationScope(Stream& stream, const OperationCost& cost);
  ~OperationScope();
  OperationScope(const OperationScope&) = delete;
  OperationScope& operator=(const OperationScope&) = delete;

  bool launches() const { return !stream_.shape_only(); }

 private:
  absl::Duration Now() const;  // zero on devices whose time is not taken here

  Stream& stream_;
  const OperationCost cost_;
  OperationScope* const outer_;
  OperationTimer* const timer_;
  const absl::Duration start_;
  absl::Duration nested_;  // taken by operations inside this one
};

}  // namespace hetero

#endif  // HETERO_TENSOR_STREAM_H_
