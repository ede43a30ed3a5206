#include "hetero/telemetry/flight_ring.h"

#include <algorithm>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hetero {

FlightRing::FlightRing(int64_t capacity) {
  CHECK_GT(capacity, 0);
  slots_.resize(capacity);
}

int64_t FlightRing::FirstKept() const {
  return std::max<int64_t>(0, num_begun_ - static_cast<int64_t>(slots_.size()));
}

int64_t FlightRing::Begin(std::string_view name, std::string_view kind, std::string_view where,
                          const FlightDetails& details, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  const int64_t sequence = num_begun_++;
  ++num_in_flight_;
  FlightEntry& slot = slots_[sequence % slots_.size()];
  slot.sequence = sequence;
  slot.name.assign(name);
  slot.kind.assign(kind);
  slot.where.assign(where);
  slot.number = details.number;
  slot.peers.assign(details.peers.begin(), details.peers.end());
  slot.start = now;
  slot.end.reset();
  return sequence;
}

void FlightRing::End(int64_t sequence, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  CHECK_GT(num_in_flight_, 0);
  --num_in_flight_;
  FlightEntry& slot = slots_[sequence % slots_.size()];
  if (slot.sequence == sequence) slot.end = now;
}

std::vector<FlightEntry> FlightRing::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  std::vector<FlightEntry> entries;
  for (int64_t i = FirstKept(); i < num_begun_; ++i) entries.push_back(Slot(i));
  return entries;
}

std::string FlightRing::ToText(std::string_view title, absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  std::string calls;
  int64_t in_flight_kept = 0;
  for (int64_t i = FirstKept(); i < num_begun_; ++i) {
    const FlightEntry& entry = Slot(i);
    absl::StrAppendFormat(&calls, "  #%-8d %12.3f ms ago  ", entry.sequence,
                          absl::ToDoubleMilliseconds(now - entry.start));
    if (entry.end.has_value()) {
      absl::StrAppendFormat(&calls, "%10.3f ms  ",
                            absl::ToDoubleMilliseconds(*entry.end - entry.start));
    } else {
      ++in_flight_kept;
      absl::StrAppend(&calls, "    IN FLIGHT  ");
    }
    absl::StrAppend(&calls, entry.kind, " ", entry.name, " on ", entry.where, "\n");
  }
  std::string text =
      absl::StrFormat("%s: %d calls, %d in flight", title, num_begun_, num_in_flight_);
  if (in_flight_kept < num_in_flight_) {
    absl::StrAppendFormat(&text, " (%d older than the calls kept)",
                          num_in_flight_ - in_flight_kept);
  }
  if (num_begun_ > 0) {
    absl::StrAppendFormat(&text, "; the last %d:", num_begun_ - FirstKept());
  }
  return absl::StrCat(text, "\n", calls);
}

}  // namespace hetero
