#ifndef HETERO_TENSOR_OPERATION_TIMER_H_
#define HETERO_TENSOR_OPERATION_TIMER_H_

// What operations take on their device, between two events of their stream. The events are made
// once, and nothing waits for them: an operation's time is read when it has run, at the latest by
// Collect.

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"
#include "hetero/tensor/device.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/stream.h"

namespace hetero {

// Works for a stream between stream.TimeOperations(&timer) and stream.TimeOperations(nullptr). The
// time of an operation is from the moment the device is free for it: where the host is late with
// its kernels, the device's wait for them is part of it. Not thread-safe: the stream's thread.
class OperationTimer {
 public:
  // More operations than a GPU holds in the queue of a stream: about 1,000 kernels.
  static constexpr int64_t kDefaultCapacity = 4096;

  // capacity: of operations that were queued and have not run. An operation beyond it has no time,
  // and num_untimed() counts it.
  // Errors: those of Event::CreateTimed.
  static absl::StatusOr<OperationTimer> Create(Device device, int64_t capacity = kDefaultCapacity);

  // Calls, floating-point operations, bytes and device time of all operations timed so far. The
  // time of an operation is without that of operations inside its scope.
  // Waits for those that have not run.
  // Errors: INTERNAL what the device ran into.
  absl::Status Collect();
  const CallLedger& calls() const { return calls_; }

  int64_t num_untimed() const { return num_untimed_; }

  // An operation's place in time, those inside its scope included.
  struct Interval {
    std::string_view name;
    absl::Duration start;  // since `origin` of KeepIntervals
    absl::Duration time;
  };

  // Keeps the intervals of the operations from now on. `origin` was recorded before them, is timed,
  // and stays until Collect.
  void KeepIntervals(const Event& origin) { origin_ = &origin; }

  // What was kept and read, in the order in which the operations began.
  std::vector<Interval> TakeIntervals() { return std::exchange(intervals_, {}); }

 private:
  friend class OperationScope;

  struct Operation {
    Event start;
    Event end;
    OperationCost cost;
    std::string_view outer;         // empty for the outermost
    const Event* origin = nullptr;  // null: no interval is kept
    bool ended = false;
  };

  OperationTimer() = default;

  // Of the innermost operation that runs now.
  void Begin(const OperationCost& cost, Stream& stream);
  void End(Stream& stream);

  // Reads the oldest operation; false if it has not ended or run.
  absl::StatusOr<bool> ReadOldest();

  int64_t capacity() const { return static_cast<int64_t>(ring_.size()); }
  Operation& At(int64_t index) { return ring_[index % capacity()]; }

  std::vector<Operation> ring_;
  int64_t first_ = 0;  // operations [first_, last_) were begun and not read
  int64_t last_ = 0;
  std::vector<int64_t> open_;  // innermost last; kUntimed for one beyond the capacity
  int64_t num_untimed_ = 0;
  const Event* origin_ = nullptr;
  std::vector<Interval> intervals_;
  absl::Status status_;  // the first error of a scope
  CallLedger calls_;
};

}  // namespace hetero

#endif  // HETERO_TENSOR_OPERATION_TIMER_H_
