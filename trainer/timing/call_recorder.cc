#include "hetero/trainer/timing/call_recorder.h"

namespace hetero {

void CallRecorder::Begin(size_t place) {
  End();
  place_ = place;
  before_ = calls_.operations();
  collectives_before_ = calls_.collectives().size();
}

void CallRecorder::End() {
  if (place_ == kNone) return;
  if (operations_.size() <= place_) operations_.resize(place_ + 1);
  OpCalls& op = operations_[place_];
  for (const auto& [name, totals] : calls_.operations()) {
    const OperationTotals& before = before_[name];
    if (totals.calls == before.calls && totals.time == before.time) continue;
    OperationTotals& sum = op.operations[name];
    sum.calls += totals.calls - before.calls;
    sum.flops += totals.flops - before.flops;
    sum.bytes += totals.bytes - before.bytes;
    sum.time += totals.time - before.time;
  }
  op.collectives.insert(
      op.collectives.end(),
      calls_.collectives().begin() + static_cast<std::ptrdiff_t>(collectives_before_),
      calls_.collectives().end());
  place_ = kNone;
}

}  // namespace hetero
