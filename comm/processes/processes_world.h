#ifndef HETERO_COMM_PROCESSES_PROCESSES_WORLD_H_
#define HETERO_COMM_PROCESSES_PROCESSES_WORLD_H_

// The backend for ranks that are processes, on one machine or several, with tensors in host memory.
// Gloo carries the messages; sums are made here in the order of the ranks, so they are bitwise
// those of comm/threads.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/rank_world.h"
#include "hetero/comm/rendezvous/rendezvous.h"

namespace hetero {

namespace internal {
class ProcessesState;
}  // namespace internal

// Of the one rank that joined `rendezvous`.
class ProcessesWorld final : public RankWorld {
 public:
  // `rendezvous` outlives it. From then on the process ignores SIGPIPE, unless it handles it, so
  // that a message to a rank that is gone fails instead of ending this one.
  // Errors: UNAVAILABLE when messages cannot be sent from this machine.
  static absl::StatusOr<std::unique_ptr<ProcessesWorld>> Create(Rendezvous& rendezvous);
  ~ProcessesWorld() override;

  // Its Create waits for the other members. Precondition: that rank.
  std::unique_ptr<CommunicatorFactory> Factory(GlobalRank rank) override;
  void Abort(const absl::Status& cause) override;
  absl::Status HealthCheck() const override;
  // Of this rank.
  std::string DescribeLastCalls() const override;
  std::vector<RankFlight> Flights() const override;

 private:
  explicit ProcessesWorld(std::unique_ptr<internal::ProcessesState> state);

  std::unique_ptr<internal::ProcessesState> state_;
};

}  // namespace hetero

#endif  // HETERO_COMM_PROCESSES_PROCESSES_WORLD_H_
