#include "hetero/comm/bridge/bridge.h"

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<Bridge>> Bridge::Create(const BridgeOptions& options,
                                                       const Grid& source, const Grid& destination,
                                                       const RowPlan& plan, GlobalRank rank,
                                                       CommunicatorFactory& factory, Device device,
                                                       MemoryLedger& ledger) {
  auto bridge = std::unique_ptr<Bridge>(new Bridge);
  BridgeChannelOptions channel = {.name = absl::StrCat("bridge.forward.", options.edge),
                                  .dtype = options.dtype,
                                  .width = options.width,
                                  .num_slots = options.num_forward_slots,
                                  .max_rows = options.max_forward_rows};
  HETERO_ASSIGN_OR_RETURN(
      bridge->forward_,
      BridgeChannel::Create(channel, source, destination, plan, rank, factory, device, ledger));
  if (!options.returns) return bridge;
  channel.name = absl::StrCat("bridge.backward.", options.edge);
  channel.num_slots = options.num_backward_slots;
  channel.max_rows = options.max_backward_rows;
  HETERO_ASSIGN_OR_RETURN(bridge->backward_,
                          BridgeChannel::Create(channel, destination, source, Inverse(plan), rank,
                                                factory, device, ledger));
  return bridge;
}

}  // namespace hetero
