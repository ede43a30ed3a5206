#include "hetero/comm/threads/threads_state.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/comm/aborted_by.h"
#include "hetero/comm/threads/threads_group.h"

namespace hetero::internal {
namespace {

// A microbatch makes up to six on an edge.
constexpr int64_t kFlightCalls = 16;

}  // namespace

ThreadsState::ThreadsState(int64_t num_ranks, absl::Duration timeout, std::string_view backend)
    : timeout_(timeout), clock_(timeout), backend_(backend) {
  for (int64_t i = 0; i < num_ranks; ++i) {
    flights_.push_back(std::make_unique<FlightRing>(kFlightCalls));
  }
}

ThreadsState::~ThreadsState() = default;

ThreadsGroup& ThreadsState::GroupOf(const CommunicatorKey& key) {
  absl::MutexLock lock(&groups_mutex_);
  std::unique_ptr<ThreadsGroup>& group = groups_[key];
  if (group == nullptr) group = std::make_unique<ThreadsGroup>(*this, key);
  return *group;
}

void ThreadsState::Abort(const absl::Status& cause) {
  SetCause(cause);
  WakeAll();
}

void ThreadsState::SetCause(const absl::Status& cause) {
  absl::MutexLock lock(&cause_mutex_);
  if (!cause_.ok()) return;
  cause_ = cause.ok() ? absl::UnknownError("aborted without a cause") : cause;
  aborted_.store(true, std::memory_order_release);
}

void ThreadsState::WakeAll() {
  absl::MutexLock lock(&groups_mutex_);
  for (auto& [key, group] : groups_) group->WakeAll();
}

absl::Status ThreadsState::cause() const {
  absl::MutexLock lock(&cause_mutex_);
  return cause_;
}

absl::Status ThreadsState::AbortedError(std::string_view call) const {
  return AbortedBy(cause(), call);
}

std::string ThreadsState::Describe(GlobalRank rank) {
  const std::vector<FlightEntry> calls = flight(rank).Snapshot();
  if (calls.empty()) return absl::StrCat("rank ", rank, " (no call yet)");
  const FlightEntry& last = calls.back();
  return absl::StrCat("rank ", rank, last.end.has_value() ? " (left '" : " (is in '", last.name,
                      "' on ", last.where, ")");
}

std::string ThreadsState::DescribeLastCalls() const {
  const absl::Time now = absl::Now();
  std::string text;
  for (size_t i = 0; i < flights_.size(); ++i) {
    text += flights_[i]->ToText(absl::StrCat("rank ", i), now);
  }
  return text;
}

std::vector<RankFlight> ThreadsState::Flights() const {
  std::vector<RankFlight> flights;
  for (size_t i = 0; i < flights_.size(); ++i) {
    flights.push_back({.rank = GlobalRank(static_cast<int64_t>(i)),
                       .world_size = num_ranks(),
                       .calls = flights_[i]->Snapshot()});
  }
  return flights;
}

}  // namespace hetero::internal
