#include "hetero/tensor/operation_timer.h"

#include "absl/log/check.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

constexpr int64_t kUntimed = -1;

}  // namespace

absl::StatusOr<OperationTimer> OperationTimer::Create(Device device, int64_t capacity) {
  CHECK_GT(capacity, 0);
  OperationTimer timer;
  timer.ring_.resize(capacity);
  for (Operation& operation : timer.ring_) {
    HETERO_ASSIGN_OR_RETURN(operation.start, Event::CreateTimed(device));
    HETERO_ASSIGN_OR_RETURN(operation.end, Event::CreateTimed(device));
  }
  return timer;
}

void OperationTimer::Begin(const OperationCost& cost, Stream& stream) {
  if (last_ - first_ == capacity()) status_.Update(ReadOldest().status());
  if (last_ - first_ == capacity()) {
    ++num_untimed_;
    open_.push_back(kUntimed);
    return;
  }
  Operation& operation = At(last_);
  operation.cost = cost;
  operation.outer = {};
  operation.origin = origin_;
  for (const int64_t outer : open_) {
    if (outer != kUntimed) operation.outer = At(outer).cost.name;
  }
  operation.ended = false;
  open_.push_back(last_++);
  status_.Update(operation.start.Record(stream));
}

void OperationTimer::End(Stream& stream) {
  const int64_t index = open_.back();
  open_.pop_back();
  if (index == kUntimed) return;
  Operation& operation = At(index);
  status_.Update(operation.end.Record(stream));
  operation.ended = true;
}

absl::StatusOr<bool> OperationTimer::ReadOldest() {
  Operation& operation = At(first_);
  if (!operation.ended) return false;
  HETERO_ASSIGN_OR_RETURN(const bool done, operation.end.IsDone());
  if (!done) return false;
  HETERO_ASSIGN_OR_RETURN(const absl::Duration time,
                          Event::TimeBetween(operation.start, operation.end));
  calls_.AddOperation(operation.cost.name, operation.cost.flops, operation.cost.bytes, time);
  if (!operation.outer.empty()) calls_.AddTime(operation.outer, -time);
  if (operation.origin != nullptr) {
    HETERO_ASSIGN_OR_RETURN(const absl::Duration start,
                            Event::TimeBetween(*operation.origin, operation.start));
    intervals_.push_back({operation.cost.name, start, time});
  }
  ++first_;
  return true;
}

absl::Status OperationTimer::Collect() {
  CHECK(open_.empty());
  HETERO_RETURN_IF_ERROR(status_).With("timing of operations");
  while (first_ < last_) {
    HETERO_RETURN_IF_ERROR(At(first_).end.Synchronize());
    HETERO_ASSIGN_OR_RETURN(const bool read, ReadOldest());
    CHECK(read) << "operation " << At(first_).cost.name << " has run";
  }
  return absl::OkStatus();
}

}  // namespace hetero
