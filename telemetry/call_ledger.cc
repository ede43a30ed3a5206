#include "hetero/telemetry/call_ledger.h"

#include <string>

#include "hetero/base/fnv.h"

namespace hetero {
namespace {

// A byte that no name holds ends each: "ab", "c" is not "a", "bc".
uint64_t Extend(uint64_t hash, std::string_view text) { return Fnv1a("\xff", Fnv1a(text, hash)); }

}  // namespace

void CallLedger::AddOperation(std::string_view name, double flops, double bytes,
                              absl::Duration time) {
  OperationTotals& totals = operations_[name];
  ++totals.calls;
  totals.flops += flops;
  totals.bytes += bytes;
  totals.time += time;
}

void CallLedger::AddCollective(std::string_view name, std::string_view kind, int64_t bytes) {
  collective_hash_ = Extend(Extend(collective_hash_, name), kind);
  if (recording_) collectives_.push_back({std::string(name), std::string(kind), bytes});
}

double CallLedger::total_flops() const {
  double flops = 0;
  for (const auto& [name, totals] : operations_) flops += totals.flops;
  return flops;
}

void CallLedger::Reset() {
  operations_.clear();
  collectives_.clear();
  collective_hash_ = kFnvOffsetBasis;
}

}  // namespace hetero
