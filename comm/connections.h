#ifndef HETERO_COMM_CONNECTIONS_H_
#define HETERO_COMM_CONNECTIONS_H_

// What communicators a rank makes, and how many others it is connected to because of them.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "hetero/comm/communicator.h"

namespace hetero {

struct MadeCommunicator {
  CommunicatorKey key;
  CommunicatorOptions options;
};

// Makes communicators by another factory, which outlives it, and keeps what it made.
class RecordingFactory final : public CommunicatorFactory {
 public:
  explicit RecordingFactory(CommunicatorFactory& factory) : factory_(factory) {}

  absl::StatusOr<std::unique_ptr<Communicator>> Create(const CommunicatorKey& key,
                                                       const CommunicatorOptions& options) override;
  void AbortAll(const absl::Status& cause) override { factory_.AbortAll(cause); }

  std::span<const MadeCommunicator> made() const { return made_; }

 private:
  CommunicatorFactory& factory_;
  std::vector<MadeCommunicator> made_;
};

struct Connections {
  int64_t num_communicators = 0;
  int64_t largest = 0;   // members of one
  int64_t messages = 0;  // sum over communicators of the peers of a rank's messages
  // Likewise of the neighbours that its collectives have, which do not grow with the members: in
  // NCCL two in a ring, and a parent and two children in each of two trees; between processes, of
  // tensors up to 4 KiB, a parent and seven children.
  int64_t collectives = 0;

  bool operator==(const Connections&) const = default;
};

// One that has exchange peers has messages only, one that has none collectives only; one that does
// not say is connected to all its members.
Connections CountConnections(std::span<const MadeCommunicator> made);

}  // namespace hetero

#endif  // HETERO_COMM_CONNECTIONS_H_
