#ifndef HETERO_TELEMETRY_CALL_LEDGER_H_
#define HETERO_TELEMETRY_CALL_LEDGER_H_

// What one rank called: operations with their floating-point operations, bytes and time, and
// collectives in order. On the shape-only device this is the prediction of a step; in a run it is
// the account of where time went. Names are string literals or outlive the ledger.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "hetero/base/fnv.h"

namespace hetero {

struct OperationTotals {
  int64_t calls = 0;
  double flops = 0;
  double bytes = 0;
  absl::Duration time;
};

struct CollectiveCall {
  std::string name;   // "llm.dp.grad.bucket3"
  std::string kind;   // "all_reduce"
  int64_t bytes = 0;  // sent by this rank

  bool operator==(const CollectiveCall&) const = default;
};

// Not thread-safe: a rank's thread owns it.
class CallLedger {
 public:
  void AddOperation(std::string_view name, double flops, double bytes, absl::Duration time);

  // To what operations of that name took.
  void AddTime(std::string_view name, absl::Duration time) { operations_[name].time += time; }

  // Extends the running hash, and the list while recording.
  void AddCollective(std::string_view name, std::string_view kind, int64_t bytes);

  // Keeps the list of collectives from now on (off at construction).
  void RecordCollectives(bool record) { recording_ = record; }

  const absl::flat_hash_map<std::string_view, OperationTotals>& operations() const {
    return operations_;
  }
  const std::vector<CollectiveCall>& collectives() const { return collectives_; }

  // Of the (name, kind) sequence, sizes left out: equal programs have equal hashes whatever the
  // batch holds.
  uint64_t collective_hash() const { return collective_hash_; }

  double total_flops() const;

  void Reset();

 private:
  bool recording_ = false;
  absl::flat_hash_map<std::string_view, OperationTotals> operations_;
  std::vector<CollectiveCall> collectives_;
  uint64_t collective_hash_ = kFnvOffsetBasis;
};

}  // namespace hetero

#endif  // HETERO_TELEMETRY_CALL_LEDGER_H_
