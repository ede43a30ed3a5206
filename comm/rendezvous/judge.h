#ifndef HETERO_COMM_RENDEZVOUS_JUDGE_H_
#define HETERO_COMM_RENDEZVOUS_JUDGE_H_

// What is to be concluded from what all ranks tell of themselves.

#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "hetero/comm/rendezvous/activity.h"

namespace hetero {

// A rank as the others see it.
struct RankView {
  bool came = false;
  bool left = false;  // has come and is done
  RankActivity activity;
  absl::Duration silent;   // since its last sign of life
  absl::Duration stalled;  // since `progress` was another
};

struct JudgeLimits {
  absl::Duration silence;  // of a rank that has come
  absl::Duration stall;    // of all ranks together
  absl::Duration arrival;  // until all have come
};

// Nothing while all is well, else why the run must end, rank and reason first:
// * UNAVAILABLE for a rank that gives no sign of life,
// * DEADLINE_EXCEEDED for ranks that have not come `since_start`, and what ExplainStall says when
//   somebody waits while no rank has got on for too long.
std::optional<absl::Status> Judge(std::span<const RankView> ranks, absl::Duration since_start,
                                  const JudgeLimits& limits);

// Of ranks that wait for others who do not get on either, `limit` long, 0 when it is not known:
// * INVALID_ARGUMENT when two members of a communicator called different things,
// * DEADLINE_EXCEEDED with who lags at which call and who waits because of it, or with the circle
//   of those who wait for each other, or with a call that everybody has issued and that does not
//   end.
// OK when nobody waits.
absl::Status ExplainStall(std::span<const RankView> ranks, absl::Duration limit);

// "it is in 'x' on processes[0,1] model", "it left 'x' on ..." or "it has called nothing yet".
std::string LastCallOf(const RankActivity& activity);

}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_JUDGE_H_
