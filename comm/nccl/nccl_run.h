#ifndef HETERO_COMM_NCCL_NCCL_RUN_H_
#define HETERO_COMM_NCCL_NCCL_RUN_H_

// What NCCL leaves to those who use it: how members of a communicator find each other, which of
// them has issued which call, and how all of a run are told that it has failed. Threads of a
// process share memory (nccl_threads.h), processes a rendezvous (nccl_rendezvous.h).

#include <nccl.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/flight.h"
#include "hetero/comm/nccl/issue_log.h"
#include "hetero/telemetry/flight_ring.h"
#include "hetero/tensor/device.h"

namespace hetero::internal {

// A call of a member that has not ended.
struct NcclCall {
  std::string what;
  IssueLog::Place place;
  absl::Duration issued;                               // by the run's clock, as is the next
  absl::Duration complete = absl::InfiniteDuration();  // when first seen to lack no member
};

// A communicator as one of its members sees it. Look is called by the watchdog, the others by the
// member's thread.
class NcclPeers {
 public:
  virtual ~NcclPeers() = default;

  // Of which all members make their handles. Errors: those of ncclGetUniqueId, ABORTED.
  virtual absl::StatusOr<ncclUniqueId> Id() = 0;

  // As in IssueLog, whose errors they have as far as others' calls are known here.
  virtual absl::StatusOr<IssueLog::Place> Collective(const Call& call) = 0;
  virtual absl::StatusOr<IssueLog::Place> Exchange(std::span<const PostedMessage> messages) = 0;

  // `calls`, the oldest first, have not ended, `num_ended` have since the last time. Returns why
  // the run must end because of them.
  virtual absl::Status Look(std::span<NcclCall* const> calls, int64_t num_ended) = 0;
};

// Of the ranks of this process. Thread-safe.
class NcclRun {
 public:
  virtual ~NcclRun() = default;

  virtual int64_t num_ranks() const = 0;
  virtual bool aborted() const = 0;
  // OK, or the cause of the abort.
  virtual absl::Status cause() const = 0;
  // ABORTED, for `call`. Precondition: the run is aborted.
  virtual absl::Status AbortedError(std::string_view call) const = 0;
  virtual void Abort(const absl::Status& cause) = 0;
  // The clock of deadlines: it stands while the process is stopped.
  virtual absl::Duration Now() = 0;
  virtual FlightRing& flight(GlobalRank rank) = 0;
  virtual std::string DescribeLastCalls() const = 0;
  virtual std::vector<RankFlight> Flights() const = 0;

  // For `me` of the members.
  virtual absl::StatusOr<std::unique_ptr<NcclPeers>> Peers(const CommunicatorKey& key,
                                                           GroupRank me) = 0;
  // What carries tensors of the host between the same members. It may wait for them, who come when
  // they have such tensors too.
  virtual absl::StatusOr<std::unique_ptr<CheckedCommunicator>> Host(
      const CommunicatorKey& key, GroupRank me, const CommunicatorOptions& options) = 0;
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_NCCL_RUN_H_
