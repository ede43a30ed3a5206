#ifndef HETERO_COMM_RENDEZVOUS_ACTIVITY_H_
#define HETERO_COMM_RENDEZVOUS_ACTIVITY_H_

// What a rank tells of itself all the time.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/rank.h"

namespace hetero {

// Messages that a rank has begun to exchange with another.
struct MessageCounts {
  GlobalRank peer;
  int64_t num_sends = 0;
  int64_t num_receives = 0;

  bool operator==(const MessageCounts&) const = default;
};

// How far a rank is in a communicator whose calls run where nobody sees what their peers do.
struct IssuedCalls {
  std::string communicator;  // "nccl[0,2] model"
  int64_t num_collectives = 0;
  std::vector<MessageCounts> messages;

  bool operator==(const IssuedCalls&) const = default;
};

// What `peer` has to issue, in the communicator of a call, before the call can end: so many
// collectives, or sends to or receives from the caller. What is not meant is 0.
struct CallNeed {
  GlobalRank peer;
  int64_t num_collectives = 0;
  int64_t num_sends = 0;
  int64_t num_receives = 0;

  bool operator==(const CallNeed&) const = default;
};

struct RankActivity {
  int64_t progress = 0;  // grows with every call that begins, gets on or ends
  std::string call;      // "'llm.tp.norm' on processes[2,3] model"; empty before the first
  bool in_call = false;  // else `call` has ended
  std::vector<GlobalRank> waits_for;  // in the call

  // Instead of `waits_for`, of a call whose peers the rank does not see: where it stands, and what
  // it needs of them.
  std::string communicator;
  int64_t collective = 0;  // its number there, from 1; 0 for an exchange
  std::vector<CallNeed> needs;
  // Told while the rank does not get on.
  std::vector<IssuedCalls> issued;

  bool operator==(const RankActivity&) const = default;
};

// As JSON.
std::string EncodeActivity(const RankActivity& activity);
// Errors: INVALID_ARGUMENT.
absl::StatusOr<RankActivity> DecodeActivity(std::string_view text);

}  // namespace hetero

#endif  // HETERO_COMM_RENDEZVOUS_ACTIVITY_H_
