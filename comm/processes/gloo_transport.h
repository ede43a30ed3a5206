#ifndef HETERO_COMM_PROCESSES_GLOO_TRANSPORT_H_
#define HETERO_COMM_PROCESSES_GLOO_TRANSPORT_H_

// Messages between processes, carried by Gloo over TCP: one connection for each two ranks that have
// anything to say to each other, whatever the number of their communicators. The only file that
// sees Gloo or what it throws.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/grid/rank.h"

namespace hetero::internal {

// A message on its way. Its memory stays until it is done or destroyed.
class PendingMessage {
 public:
  virtual ~PendingMessage() = default;

  // Until it has come or gone. Errors: CANCELLED after Interrupt, UNAVAILABLE when the connection
  // is gone.
  virtual absl::Status Wait() = 0;
  // Ends a Wait of another thread, and every later one.
  virtual void Interrupt() = 0;
};

class GlooTransport {
 public:
  virtual ~GlooTransport() = default;

  // `address` is the one that others reach this machine by. From then on the process ignores
  // SIGPIPE, unless it handles it: writing to a peer that is gone would end it. Errors:
  // UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<GlooTransport>> Create(GlobalRank rank, int64_t world_size,
                                                               const std::string& address);

  // Opens a port for `peer`, once, and returns what the peer connects with.
  virtual absl::StatusOr<std::string> Open(GlobalRank peer) = 0;
  virtual bool IsOpen(GlobalRank peer) const = 0;
  // With what the peer's Open returned, while the peer does the same. Errors: UNAVAILABLE.
  virtual absl::Status Connect(GlobalRank peer, const std::string& opened) = 0;

  // A message of `bytes` bytes meets the receive of the same slot, in the order of both; what is
  // received may be shorter than asked for, not longer. Precondition: connected.
  virtual absl::StatusOr<std::unique_ptr<PendingMessage>> Send(GlobalRank peer, uint64_t slot,
                                                               const void* data, int64_t bytes) = 0;
  virtual absl::StatusOr<std::unique_ptr<PendingMessage>> Receive(GlobalRank peer, uint64_t slot,
                                                                  void* data, int64_t bytes) = 0;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_PROCESSES_GLOO_TRANSPORT_H_
