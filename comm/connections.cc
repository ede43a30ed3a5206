#include "hetero/comm/connections.h"

#include <algorithm>
#include <utility>

#include "hetero/base/status.h"

namespace hetero {

absl::StatusOr<std::unique_ptr<Communicator>> RecordingFactory::Create(
    const CommunicatorKey& key, const CommunicatorOptions& options) {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> made, factory_.Create(key, options));
  made_.push_back({key, options});
  return made;
}

Connections CountConnections(std::span<const MadeCommunicator> made) {
  constexpr int64_t kNeighbours = 2 + 2 * 3;
  Connections count;
  for (const MadeCommunicator& communicator : made) {
    const auto size = static_cast<int64_t>(communicator.key.members.size());
    const auto& peers = communicator.options.exchange_peers;
    const int64_t num_peers = peers.has_value() ? std::ssize(*peers) : size - 1;
    ++count.num_communicators;
    count.largest = std::max(count.largest, size);
    count.messages += num_peers;
    if (num_peers == 0 || !peers.has_value()) count.collectives += std::min(size - 1, kNeighbours);
  }
  return count;
}

}  // namespace hetero
