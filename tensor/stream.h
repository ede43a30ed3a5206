#ifndef HETERO_TENSOR_STREAM_H_
#define HETERO_TENSOR_STREAM_H_

// The queue a rank's operations go to. A CPU stream runs them at once on the calling thread; a
// shape-only stream records their cost and runs nothing.

#include <string_view>

#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/device.h"

namespace hetero {

// One thread owns a stream: kernels run on it in program order. Scratch memory of kernels comes
// from `workspace`, which the stream does not own and which outlives it.
class Stream {
 public:
  Stream(Device device, Arena& workspace) : device_(device), workspace_(workspace) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  const Device& device() const { return device_; }
  bool shape_only() const { return device_.kind == DeviceKind::kShapeOnly; }
  Arena& workspace() { return workspace_; }
  CallLedger& ledger() { return ledger_; }

 private:
  Device device_;
  Arena& workspace_;
  CallLedger ledger_;
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
// launches() is false and the kernel must not run.
//
//   OperationScope scope(stream, {"silu.forward", 8.0 * n, 2.0 * x.num_bytes()});
//   if (!scope.launches()) return absl::OkStatus();
class OperationScope {
 public:
  OperationScope(Stream& stream, const OperationCost& cost)
      : stream_(stream), cost_(cost), start_(launches() ? ThreadTime() : absl::ZeroDuration()) {}
  ~OperationScope() {
    stream_.ledger().AddOperation(cost_.name, cost_.flops, cost_.bytes,
                                  launches() ? ThreadTime() - start_ : absl::ZeroDuration());
  }
  OperationScope(const OperationScope&) = delete;
  OperationScope& operator=(const OperationScope&) = delete;

  bool launches() const { return !stream_.shape_only(); }

 private:
  Stream& stream_;
  OperationCost cost_;
  absl::Duration start_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_STREAM_H_
