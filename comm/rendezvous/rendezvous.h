#ifndef HETERO_COMM_RENDEZVOUS_RENDEZVOUS_H_
#define HETERO_COMM_RENDEZVOUS_RENDEZVOUS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/comm/rendezvous/activity.h"
#include "hetero/grid/rank.h"

namespace hetero {

namespace internal {
class ClientLoop;
}  // namespace internal

struct RendezvousOptions {
  GlobalRank rank;
  int64_t world_size = 0;
  std::string host = {};  // where the first rank's RendezvousServer listens
  int port = 0;
  absl::Duration timeout = absl::Minutes(5);          // without a sign of life from there
  absl::Duration arrival_timeout = absl::Minutes(5);  // until it is there
  // It listened before this rank was started: if it does not, the first rank has ended.
  bool is_listening = false;
};

// A rank's connection to the others before they have any: values by name, the run's first failure,
// and the news of what every rank does. Holds a thread. Thread-safe.
class Rendezvous {
 public:
  // Waits for the first rank. Errors: UNAVAILABLE when it does not come, INVALID_ARGUMENT when it
  // knows another world or has this rank already.
  static absl::StatusOr<std::unique_ptr<Rendezvous>> Join(const RendezvousOptions& options);
  // Without Leave before it, the others take this rank for dead.
  ~Rendezvous();

  GlobalRank rank() const;
  int64_t world_size() const;
  // The address that others reach this machine by.
  const std::string& address() const;

  absl::Status Put(std::string_view key, std::string_view value);
  // Waits until `giver` has put it; a long wait is the run's to judge. Errors: ABORTED.
  absl::StatusOr<std::string> Get(std::string_view key, GlobalRank giver);
  // Waits until all `members`, ascending and this rank among them, are in the call of that name,
  // which nobody uses twice. Errors: ABORTED.
  absl::Status Barrier(std::string_view name, std::span<const GlobalRank> members);

  // How far the clock of this machine is ahead of that of the first rank's, to within half of the
  // shortest of a few round trips. Errors: ABORTED.
  absl::StatusOr<absl::Duration> ClockAhead();

  // This rank works at something that is no call: a long wait for it is none for a stuck one.
  void GotOn();
  // What this rank does, asked for several times a second on a thread of the rendezvous; outside of
  // Get and Barrier, which tell of themselves. Empty: nothing.
  void SetActivity(std::function<RankActivity()> activity);

  // Tells all ranks to end; the first cause of the run wins. `cause` names rank and origin.
  void Abort(const absl::Status& cause);
  // Calls `on_abort` once, when the run has failed or at once if it has, on any thread. Null: no
  // longer; when that returns, it is not running.
  void Watch(std::function<void(const absl::Status& cause)> on_abort);
  // OK, or the cause of the abort.
  absl::Status HealthCheck() const;

  // This rank is done; whatever becomes of the others is no longer its concern.
  void Leave();

 private:
  explicit Rendezvous(std::unique_ptr<internal::ClientLoop> loop);

  std::unique_ptr<internal::ClientLoop> loop_;
};

}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_RENDEZVOUS_H_
