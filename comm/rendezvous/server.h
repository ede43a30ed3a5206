#ifndef HETERO_COMM_RENDEZVOUS_SERVER_H_
#define HETERO_COMM_RENDEZVOUS_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace hetero {

namespace internal {
class ServerLoop;
}  // namespace internal

struct RendezvousServerOptions {
  int64_t world_size = 0;
  std::string host = {};  // where to listen; empty: at all addresses of this machine
  int port = 0;           // 0: any that is free
  int listening = -1;  // a socket that listens already, taken over; then host and port are unused
  // Of a rank without a sign of life, and of a run in which somebody waits and nobody gets on.
  absl::Duration timeout = absl::Minutes(5);
  // Until every rank has come.
  absl::Duration arrival_timeout = absl::Minutes(5);
};

// Where the ranks of a run meet, in the process of its first rank, on a thread of its own. It keeps
// what they tell each other, notices which of them is gone, stopped, cut off or stuck without any
// call of theirs, and tells the run's first failure to all.
class RendezvousServer {
 public:
  // Errors: UNAVAILABLE when it cannot listen there.
  static absl::StatusOr<std::unique_ptr<RendezvousServer>> Start(
      const RendezvousServerOptions& options);
  // Waits for the ranks to leave; after a failure for a few seconds only.
  ~RendezvousServer();

  int port() const;

 private:
  explicit RendezvousServer(std::unique_ptr<internal::ServerLoop> loop);

  std::unique_ptr<internal::ServerLoop> loop_;
};

}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_SERVER_H_
