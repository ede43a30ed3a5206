#include "hetero/comm/nccl/issue_log.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace hetero::internal {
namespace {

std::string ToString(const PostedMessage& message) {
  return absl::StrCat(message.is_send ? "a send" : "a receive", " of ", message.num_elements, " ",
                      Name(message.dtype));
}

}  // namespace

IssueLog::IssueLog(std::span<const GlobalRank> members)
    : members_(members.begin(), members.end()),
      num_collectives_(members.size()),
      directions_(members.size() * members.size()) {}

std::string IssueLog::Who(GroupRank rank) const {
  return absl::StrCat("rank ", members_[static_cast<size_t>(rank.value())]);
}

absl::StatusOr<IssueLog::Place> IssueLog::Collective(GroupRank me, const Call& call) {
  absl::MutexLock lock(&mutex_);
  const size_t self = static_cast<size_t>(me.value());
  const uint64_t number = ++num_collectives_[self];
  while (num_closed_ + open_.size() < number) open_.emplace_back(members_.size());
  std::vector<std::optional<Call>>& calls = open_[number - num_closed_ - 1];
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::optional<Call>& other = calls[i];
    if (!other.has_value() || (SameCall(*other, call) && RowsFit(*other, i, call, self))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("members called different things: ", Who(GroupRank(static_cast<int64_t>(i))),
                     " ", other->ToString(), ", ", Who(me), " ", call.ToString()));
  }
  calls[self] = call;
  while (!open_.empty() &&
         std::ranges::all_of(open_.front(), [](const auto& c) { return c.has_value(); })) {
    open_.pop_front();
    ++num_closed_;
  }
  return Place{.member = me, .collective = number};
}

absl::StatusOr<IssueLog::Place> IssueLog::Exchange(GroupRank me,
                                                   std::span<const PostedMessage> messages) {
  absl::MutexLock lock(&mutex_);
  Place place = {.member = me};
  for (const PostedMessage& message : messages) {
    Direction& direction =
        directions_[message.is_send ? IndexOf(me, message.peer) : IndexOf(message.peer, me)];
    const uint64_t number = ++(message.is_send ? direction.num_sends : direction.num_receives);
    place.messages.push_back({message.peer, message.is_send, number});
    if (direction.unmatched.empty() || direction.unmatched.front().is_send == message.is_send) {
      direction.unmatched.push_back(message);
      continue;
    }
    const PostedMessage other = direction.unmatched.front();
    direction.unmatched.pop_front();
    if (other.dtype != message.dtype || other.num_elements != message.num_elements) {
      return absl::InvalidArgumentError(
          absl::StrCat("the two ends of a message differ: ", Who(me), " posts ", ToString(message),
                       ", ", Who(message.peer), " posted ", ToString(other)));
    }
  }
  return place;
}

std::vector<GroupRank> IssueLog::Laggards(const Place& place) const {
  absl::MutexLock lock(&mutex_);
  std::vector<GroupRank> laggards;
  if (place.collective > 0) {
    for (size_t i = 0; i < members_.size(); ++i) {
      if (num_collectives_[i] < place.collective) laggards.emplace_back(static_cast<int64_t>(i));
    }
    return laggards;
  }
  for (const Place::Message& message : place.messages) {
    const Direction& direction = directions_[message.is_send ? IndexOf(place.member, message.peer)
                                                             : IndexOf(message.peer, place.member)];
    if ((message.is_send ? direction.num_receives : direction.num_sends) < message.number) {
      laggards.push_back(message.peer);
    }
  }
  std::ranges::sort(laggards);
  laggards.erase(std::ranges::unique(laggards).begin(), laggards.end());
  return laggards;
}

}  // namespace hetero::internal
