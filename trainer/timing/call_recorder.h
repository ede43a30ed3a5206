#ifndef HETERO_TRAINER_TIMING_CALL_RECORDER_H_
#define HETERO_TRAINER_TIMING_CALL_RECORDER_H_

// What each operation of a step's program calls, by the ledger of the rank's stream.

#include <cstddef>
#include <map>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "hetero/telemetry/call_ledger.h"

namespace hetero {

struct OpCalls {
  std::map<std::string_view, OperationTotals> operations;  // by name
  std::vector<CollectiveCall> collectives;
};

// Not thread-safe: the rank's thread.
class CallRecorder {
 public:
  // `calls` outlives it and records collectives.
  explicit CallRecorder(const CallLedger& calls) : calls_(calls) {}

  // What was called since the last Begin belongs to its operation, what comes now to that at
  // `place` of the program. For EngineOptions::before_operation.
  void Begin(size_t place);
  // Ends the last operation of a step.
  void End();

  // By place, of all steps so far.
  const std::vector<OpCalls>& operations() const { return operations_; }

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  const CallLedger& calls_;
  size_t place_ = kNone;
  absl::flat_hash_map<std::string_view, OperationTotals> before_;
  size_t collectives_before_ = 0;
  std::vector<OpCalls> operations_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_CALL_RECORDER_H_
