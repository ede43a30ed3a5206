#ifndef HETERO_COMM_PROCESSES_PROCESSES_STATE_H_
#define HETERO_COMM_PROCESSES_PROCESSES_STATE_H_

// What all communicators of a rank share: its messages, what it is doing, and the abort.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/flight.h"
#include "hetero/comm/processes/gloo_transport.h"
#include "hetero/comm/rendezvous/rendezvous.h"
#include "hetero/telemetry/flight_ring.h"

namespace hetero::internal {

// The rank's thread calls everything but GotOn, Interrupt and Activity.
class ProcessesState {
 public:
  // `rendezvous` outlives it. Errors: UNAVAILABLE when messages cannot be sent from this machine.
  static absl::StatusOr<std::unique_ptr<ProcessesState>> Create(Rendezvous& rendezvous);
  // `rendezvous` outlives it.
  ProcessesState(Rendezvous& rendezvous, std::unique_ptr<GlooTransport> transport);
  ~ProcessesState();

  Rendezvous& rendezvous() { return rendezvous_; }
  GlooTransport& transport() { return *transport_; }
  FlightRing& flight() { return flight_; }

  // Opens the connections to `peers` that no earlier call has, together with each of them, who does
  // the same. `text`: of the communicator, for messages.
  absl::Status Connect(std::vector<GlobalRank> peers, std::string_view text);

  // Around a call, for those who ask what this rank does.
  void BeginCall(std::string_view name, std::string_view where);
  void EndCall();
  // A call of which others ask has ended elsewhere, or begun.
  void GotOn();
  // Adds what only a backend in front of this one knows to what this rank does; null: nothing.
  void SetDescribe(std::function<void(RankActivity&)> describe);

  // Whether the run has failed.
  bool interrupted() const { return interrupted_.load(std::memory_order_acquire); }

  // Until `message` from or to `peer` is done. Errors: ABORTED with the run's first failure, which
  // a lost connection becomes.
  absl::Status Await(PendingMessage& message, GlobalRank peer, std::string_view where);

  // Makes `status` the cause of the run's abort, put down to this rank, and returns it.
  absl::Status Fail(const absl::Status& status);

  std::string DescribeLastCalls() const;
  // Of this rank.
  std::vector<RankFlight> Flights() const;

  // ABORTED: "<call>: the run was aborted ...". Precondition: it was.
  absl::Status AbortedError(std::string_view call) const;

 private:
  RankActivity Activity();
  void Interrupt();

  Rendezvous& rendezvous_;
  const std::unique_ptr<GlooTransport> transport_;
  FlightRing flight_;
  absl::Mutex mutex_;
  RankActivity activity_ ABSL_GUARDED_BY(mutex_);
  std::string where_ ABSL_GUARDED_BY(mutex_);
  PendingMessage* waiting_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::atomic<bool> interrupted_ = false;  // set under the mutex
  absl::Mutex describe_mutex_;
  std::function<void(RankActivity&)> describe_ ABSL_GUARDED_BY(describe_mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_PROCESSES_PROCESSES_STATE_H_
