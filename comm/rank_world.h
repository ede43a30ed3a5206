#ifndef HETERO_COMM_RANK_WORLD_H_
#define HETERO_COMM_RANK_WORLD_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/flight.h"

namespace hetero {

// A backend for the ranks of a run that are threads of this process. Outlives its factories and
// their communicators. Thread-safe.
class RankWorld {
 public:
  virtual ~RankWorld() = default;

  // The factory of one rank, used on that rank's thread only. Precondition: it is a rank of the
  // world.
  virtual std::unique_ptr<CommunicatorFactory> Factory(GlobalRank rank) = 0;

  // Wakes every rank in every communicator with ABORTED; the first cause wins. `cause` names rank
  // and origin.
  virtual void Abort(const absl::Status& cause) = 0;

  // OK, or the cause of the abort.
  virtual absl::Status HealthCheck() const = 0;

  // The last calls of every rank, one a line, at most 16 a rank, below a line that names it.
  virtual std::string DescribeLastCalls() const = 0;
  // The same as values, of the ranks of this process.
  virtual std::vector<RankFlight> Flights() const = 0;
};

}  // namespace hetero

#endif  // HETERO_COMM_RANK_WORLD_H_
