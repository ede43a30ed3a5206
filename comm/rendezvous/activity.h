#ifndef HETERO_COMM_RENDEZVOUS_ACTIVITY_H_
#define HETERO_COMM_RENDEZVOUS_ACTIVITY_H_

// What ranks tell of themselves all the time, and what is to be concluded when nothing moves.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/grid/rank.h"

namespace hetero {

struct RankActivity {
  int64_t progress = 0;  // grows with every call that begins, gets on or ends
  std::string call;      // "'llm.tp.norm' on processes[2,3] model"; empty before the first
  bool in_call = false;  // else `call` has ended
  std::vector<GlobalRank> waits_for;  // in the call

  bool operator==(const RankActivity&) const = default;
};

namespace internal {

std::vector<std::string> EncodeActivity(const RankActivity& activity);
// Errors: INVALID_ARGUMENT.
absl::StatusOr<RankActivity> DecodeActivity(std::span<const std::string> texts);

// A rank as the rendezvous sees it.
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
// * DEADLINE_EXCEEDED for ranks that have not come `since_start`, and when somebody waits while no
//   rank has got on for too long: who lags at which call and who waits because of it, or the circle
//   of those who wait for each other.
std::optional<absl::Status> Judge(std::span<const RankView> ranks, absl::Duration since_start,
                                  const JudgeLimits& limits);

// "it is in 'x' on processes[0,1] model", "it left 'x' on ..." or "it has called nothing yet".
std::string LastCallOf(const RankActivity& activity);

}  // namespace internal
}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_ACTIVITY_H_
