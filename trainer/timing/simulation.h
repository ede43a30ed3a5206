#ifndef HETERO_TRAINER_TIMING_SIMULATION_H_
#define HETERO_TRAINER_TIMING_SIMULATION_H_

// The programs of a step in virtual time: who waits for whom when every operation takes what it is
// expected to.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/trainer/step/op.h"

namespace hetero {

// Who takes part in the collectives of an operation.
enum class Joins : uint8_t {
  kNobody,
  kStage,  // all ranks that walk the same program
  kWorld,
};

struct TimedOp {
  Op op;
  // Of a device that the rank has to itself, before its peers are waited for or anything is posted.
  double work_seconds = 0;
  Joins joins = Joins::kNobody;
  // Collectives one after the other, for each of which the ranks are woken.
  int64_t num_joins = 1;
  // After all have come that join; of a kPostSend, on the link, behind what it carries already.
  double traffic_seconds = 0;
};

// Ranks that do the same work at the same time: they have got on equally far.
struct TimedRanks {
  std::vector<int> stages;
  int program = 0;  // equal for ranks whose operations are the same
  int64_t num_ranks = 1;
  std::vector<TimedOp> ops;
};

// The stages at the ends of a channel, in the direction of what is sent.
struct LinkEnds {
  int source = 0;
  int destination = 0;
};

struct SimulationOptions {
  double cores = 0;         // that all ranks share alike; 0: each rank has a device
  double wake_seconds = 0;  // until who waits goes on
  // Steps are run one after the other; what is said is of the last.
  int num_steps = 3;
};

// Seconds of a step, of each of the ranks.
struct RanksTime {
  double working = 0;         // with what others on the same cores take meanwhile
  double traffic = 0;         // of collectives, peers apart
  double joining = 0;         // until peers of a collective have come
  double transferring = 0;    // waits for transfers, sum of the next
  std::vector<double> waits;  // by channel
};

struct StepTime {
  double seconds = 0;
  std::vector<RanksTime> ranks;  // parallel to the simulated ones
};

// A transfer is complete once all ranks at both ends have posted it, all before it on its channel
// are, and the link has carried it.
// Errors: FAILED_PRECONDITION when the programs do not come to their end.
absl::StatusOr<StepTime> Simulate(std::span<const TimedRanks> ranks,
                                  std::span<const LinkEnds> channels,
                                  const SimulationOptions& options);

}  // namespace hetero

#endif  // HETERO_TRAINER_TIMING_SIMULATION_H_
