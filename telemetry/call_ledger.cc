#include "hetero/telemetry/call_ledger.h"

#include <string>

namespace hetero {
namespace {

// FNV-1a: stable between processes, so ranks can compare.
uint64_t Extend(uint64_t hash, std::string_view text) {
  if (hash == 0) hash = 0xcbf29ce484222325u;
  for (char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return (hash ^ 0xffu) * 0x100000001b3u;
}

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
  collective_hash_ = 0;
}

}  // namespace hetero
