#ifndef HETERO_COMM_BRIDGE_BRIDGE_H_
#define HETERO_COMM_BRIDGE_BRIDGE_H_

// An edge from module to module, both directions or forward alone, at one rank. Any row plan of the
// grid library runs on it, also where the modules share their ranks.
//
//   receive = bridge.forward().PostReceive(plan, microbatch, stream);    // destination, ahead
//   sent = bridge.forward().Send(activation, plan, microbatch, stream);  // source
//   rows = receive->Wait(stream);                                        // destination, at use
// and back, with the inverse plan, from destination to source:
//   bridge.backward().Send(gradient, Inverse(plan), microbatch, stream);

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "hetero/comm/bridge/bridge_channel.h"
#include "hetero/comm/communicator.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/row_plan.h"
#include "hetero/tensor/memory.h"

namespace hetero {

struct BridgeOptions {
  int64_t edge = 0;  // position in the plan's list of edges
  DType dtype = DType::kF32;
  int64_t width = 0;  // elements of a row: the destination's hidden size
  // Microbatches received and still in use, at most, those posted ahead included.
  int64_t num_forward_slots = 1;
  int64_t num_backward_slots = 1;
  int64_t max_forward_rows = 0;   // of a microbatch at a destination rank
  bool returns = true;            // gradients go back; false: the backward direction takes nothing
  int64_t max_backward_rows = 0;  // of a microbatch at a source rank
};

class Bridge {
 public:
  // `plan` is the edge's plan for any counts; see BridgeChannel::Create. Every rank of `plan` calls
  // this, edges in order.
  static absl::StatusOr<std::unique_ptr<Bridge>> Create(const BridgeOptions& options,
                                                        const Grid& source, const Grid& destination,
                                                        const RowPlan& plan, GlobalRank rank,
                                                        CommunicatorFactory& factory, Device device,
                                                        MemoryLedger& ledger);

  BridgeChannel& forward() { return *forward_; }
  // Precondition: BridgeOptions::returns.
  BridgeChannel& backward() { return *backward_; }

 private:
  Bridge() = default;

  std::unique_ptr<BridgeChannel> forward_;
  std::unique_ptr<BridgeChannel> backward_;
};

}  // namespace hetero

#endif  // HETERO_COMM_BRIDGE_BRIDGE_H_
