#include "hetero/comm/rendezvous/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"

namespace hetero::internal {
namespace {

// Between two tries to reach somebody who may not have started yet.
constexpr absl::Duration kBetweenTries = absl::Milliseconds(50);

absl::Status Failed(std::string_view what, std::string_view host, int port) {
  return absl::UnavailableError(absl::StrCat("cannot ", what, " ", host.empty() ? "*" : host, ":",
                                             port, ": ", std::strerror(errno)));
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

absl::StatusOr<Addresses> Resolve(const std::string& host, int port) {
  addrinfo hints = {};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.empty() ? nullptr : host.c_str(), absl::StrCat(port).c_str(),
                                &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("host '", host, "' has no address: ", gai_strerror(error)));
  }
  return Addresses(found, &freeaddrinfo);
}

absl::StatusOr<sockaddr_in> NameOf(const Socket& socket) {
  sockaddr_in name = {};
  socklen_t size = sizeof(name);
  if (getsockname(socket.descriptor(), reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return absl::UnavailableError(absl::StrCat("a socket has no address: ", std::strerror(errno)));
  }
  return name;
}

bool WouldBlock() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

Socket::~Socket() {
  if (descriptor_ >= 0) close(descriptor_);
}

absl::StatusOr<Socket> Listen(const std::string& host, int port) {
  HETERO_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(host, port));
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (socket.descriptor() < 0 ||
      setsockopt(socket.descriptor(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      bind(socket.descriptor(), addresses->ai_addr, addresses->ai_addrlen) != 0 ||
      listen(socket.descriptor(), SOMAXCONN) != 0) {
    return Failed("listen at", host, port);
  }
  return socket;
}

absl::StatusOr<Socket> Connect(const std::string& host, int port, absl::Duration patience) {
  HETERO_ASSIGN_OR_RETURN(const Addresses addresses, Resolve(host, port));
  const absl::Time last = absl::Now() + patience;
  while (true) {
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.descriptor() < 0) return Failed("connect to", host, port);
    if (connect(socket.descriptor(), addresses->ai_addr, addresses->ai_addrlen) == 0) {
      return socket;
    }
    if (absl::Now() >= last) return Failed("connect to", host, port);
    absl::SleepFor(kBetweenTries);
  }
}

absl::StatusOr<int> PortOf(const Socket& socket) {
  HETERO_ASSIGN_OR_RETURN(const sockaddr_in name, NameOf(socket));
  return int{ntohs(name.sin_port)};
}

absl::StatusOr<std::string> AddressOf(const Socket& socket) {
  HETERO_ASSIGN_OR_RETURN(const sockaddr_in name, NameOf(socket));
  std::array<char, INET_ADDRSTRLEN> text = {};
  inet_ntop(AF_INET, &name.sin_addr, text.data(), text.size());
  return std::string(text.data());
}

Connection::Connection(Socket socket) : socket_(std::move(socket)) {
  const int on = 1;
  setsockopt(descriptor(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  fcntl(descriptor(), F_SETFL, fcntl(descriptor(), F_GETFL) | O_NONBLOCK);
}

absl::Status Connection::Flush() {
  while (has_unsent()) {
    const ssize_t written =
        send(descriptor(), unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL);
    if (written < 0 && WouldBlock()) return absl::OkStatus();
    if (written < 0) return absl::UnavailableError(std::strerror(errno));
    sent_ += static_cast<size_t>(written);
  }
  unsent_.clear();
  sent_ = 0;
  return absl::OkStatus();
}

absl::Status Connection::Read() {
  std::array<char, 1 << 16> bytes;
  while (true) {
    const ssize_t read = recv(descriptor(), bytes.data(), bytes.size(), 0);
    if (read < 0 && WouldBlock()) return absl::OkStatus();
    if (read < 0) return absl::UnavailableError(std::strerror(errno));
    if (read == 0) return absl::UnavailableError("the connection was closed");
    parser_.Append({bytes.data(), static_cast<size_t>(read)});
  }
}

}  // namespace hetero::internal
