#ifndef HETERO_TELEMETRY_FLIGHT_RING_H_
#define HETERO_TELEMETRY_FLIGHT_RING_H_

// The last calls of one rank, kept so that a failure or a stuck collective can be explained: the
// rank's thread records, a watchdog or the failure path of any thread reads.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace hetero {

struct FlightEntry {
  int64_t sequence = 0;        // 0 for the rank's first call
  std::string name;            // the plan's: "llm.dp.grad.bucket3"
  std::string kind;            // "all_reduce"
  std::string where;           // "threads[0,2] llm.dp"
  int64_t number = 0;          // among the rank's calls there that all members make, from 1; else 0
  std::vector<int64_t> peers;  // ranks that it needs
  absl::Time start;
  std::optional<absl::Time> end;  // none while in flight, and for a call that failed

  bool operator==(const FlightEntry&) const = default;
};

// What a call is besides its names.
struct FlightDetails {
  int64_t number = 0;
  std::span<const int64_t> peers = {};
};

// Thread-safe; a call takes one lock that is contended only while somebody reads.
class FlightRing {
 public:
  // Precondition: capacity > 0.
  explicit FlightRing(int64_t capacity);

  // Records the start of a call and returns its sequence number. The oldest entry makes room, in
  // flight or not. Several calls may be in flight and may end in any order.
  int64_t Begin(std::string_view name, std::string_view kind, std::string_view where,
                const FlightDetails& details = {}, absl::Time now = absl::Now());

  // Precondition: `sequence` came from Begin and has not ended.
  void End(int64_t sequence, absl::Time now = absl::Now());

  // The entries kept, oldest first.
  std::vector<FlightEntry> Snapshot() const;

  // One line a kept call, oldest first, after a line of totals; `title` names the rank. Start times
  // are relative to `now`, so that the dumps of several ranks compare.
  std::string ToText(std::string_view title, absl::Time now = absl::Now()) const;

 private:
  int64_t FirstKept() const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  const FlightEntry& Slot(int64_t sequence) const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return slots_[sequence % slots_.size()];
  }

  mutable absl::Mutex mutex_;
  std::vector<FlightEntry> slots_ ABSL_GUARDED_BY(mutex_);
  int64_t num_begun_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A call in a ring, or nothing for a null ring. A call that fails is not ended: the record then
// shows where its rank was stopped.
class FlightCall {
 public:
  FlightCall(FlightRing* ring, std::string_view name, std::string_view kind, std::string_view where,
             const FlightDetails& details = {})
      : ring_(ring), sequence_(ring == nullptr ? 0 : ring->Begin(name, kind, where, details)) {}

  FlightCall(const FlightCall&) = delete;
  FlightCall& operator=(const FlightCall&) = delete;

  // Once.
  void End() {
    if (ring_ != nullptr) ring_->End(sequence_);
  }

 private:
  FlightRing* const ring_;
  const int64_t sequence_;
};

}  // namespace hetero

#endif  // HETERO_TELEMETRY_FLIGHT_RING_H_
