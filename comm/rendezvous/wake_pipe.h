#ifndef HETERO_COMM_RENDEZVOUS_WAKE_PIPE_H_
#define HETERO_COMM_RENDEZVOUS_WAKE_PIPE_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

#include "hetero/comm/rendezvous/socket.h"

namespace hetero::internal {

// Ends a poll() of another thread.
class WakePipe {
 public:
  WakePipe() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

  int descriptor() const { return event_.descriptor(); }
  void Wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(descriptor(), &one, sizeof(one));
  }
  void Drain() {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t read = ::read(descriptor(), &count, sizeof(count));
  }

 private:
  Socket event_;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_RENDEZVOUS_WAKE_PIPE_H_
