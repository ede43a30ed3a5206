#ifndef HETERO_COMM_RENDEZVOUS_SOCKET_H_
#define HETERO_COMM_RENDEZVOUS_SOCKET_H_

// TCP sockets with errors as statuses.

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/comm/rendezvous/frame.h"

namespace hetero::internal {

// A descriptor that is closed with its owner.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket();

  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

// Listens at `host`:`port`, on all of this machine's addresses for an empty `host`; port 0 is any
// free one. Errors: INVALID_ARGUMENT for a name that does not resolve, UNAVAILABLE.
absl::StatusOr<Socket> Listen(const std::string& host, int port);

// Tries until somebody listens there, at least once. Errors: INVALID_ARGUMENT for a name that does
// not resolve, UNAVAILABLE after `patience`.
absl::StatusOr<Socket> Connect(const std::string& host, int port, absl::Duration patience);

// The port that a socket is bound to, and the address that its peer reaches this machine by.
absl::StatusOr<int> PortOf(const Socket& socket);
absl::StatusOr<std::string> AddressOf(const Socket& socket);

// A connection that never blocks: what is sent waits until it can go.
class Connection {
 public:
  explicit Connection(Socket socket);

  int descriptor() const { return socket_.descriptor(); }
  bool has_unsent() const { return sent_ < unsent_.size(); }
  void Send(const Frame& frame) { unsent_ += Encode(frame); }
  // Writes and reads what can be now. Errors: UNAVAILABLE when the peer has closed or is gone, with
  // what came before still in Next().
  absl::Status Flush();
  absl::Status Read();
  absl::StatusOr<std::optional<Frame>> Next() { return parser_.Next(); }

 private:
  Socket socket_;
  std::string unsent_;
  size_t sent_ = 0;
  FrameParser parser_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_RENDEZVOUS_SOCKET_H_
