#ifndef HETERO_COMM_NCCL_ISSUE_LOG_H_
#define HETERO_COMM_NCCL_ISSUE_LOG_H_

// Which member of a communicator has issued which call. Calls on a GPU start and end behind the
// host's back: NCCL neither notices that members call different things nor knows whom a stuck call
// waits for. The members share the process, so the host can see both.

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/comm/communicator.h"
#include "hetero/comm/threads/threads_group.h"

namespace hetero::internal {

// What one member puts into an exchange.
struct PostedMessage {
  GroupRank peer;
  bool is_send = false;
  DType dtype = DType::kF32;
  int64_t num_elements = 0;
};

// Thread-safe.
class IssueLog {
 public:
  // Where a call stands among those of its members.
  struct Place {
    struct Message {
      GroupRank peer;
      bool is_send = false;
      uint64_t number = 0;  // from 1, of this direction between the two
    };
    GroupRank member;
    uint64_t collective = 0;        // from 1; 0 is an exchange
    std::vector<Message> messages;  // of an exchange
  };

  explicit IssueLog(std::span<const GlobalRank> members);

  // `me` issues its next collective.
  // Errors: INVALID_ARGUMENT naming both calls when another member issued something else there.
  absl::StatusOr<Place> Collective(GroupRank me, const Call& call);

  // `me` issues an exchange.
  // Errors: INVALID_ARGUMENT naming both ends of a message that differ.
  absl::StatusOr<Place> Exchange(GroupRank me, std::span<const PostedMessage> messages);

  // The members that a call at `place` still waits for, ascending.
  std::vector<GroupRank> Laggards(const Place& place) const;

 private:
  // One direction between two members: what one end has posted and the other has not.
  struct Direction {
    uint64_t num_sends = 0;
    uint64_t num_receives = 0;
    std::deque<PostedMessage> unmatched;
  };

  std::string Who(GroupRank rank) const;
  size_t IndexOf(GroupRank sender, GroupRank receiver) const {
    return static_cast<size_t>(sender.value()) * members_.size() +
           static_cast<size_t>(receiver.value());
  }

  const std::vector<GlobalRank> members_;
  mutable absl::Mutex mutex_;
  std::vector<uint64_t> num_collectives_ ABSL_GUARDED_BY(mutex_);  // of every member
  // Of every member, for the collectives that not all have issued, the oldest first.
  std::deque<std::vector<std::optional<Call>>> open_ ABSL_GUARDED_BY(mutex_);
  uint64_t num_closed_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Direction> directions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero::internal

#endif  // HETERO_COMM_NCCL_ISSUE_LOG_H_
