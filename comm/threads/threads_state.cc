#include "hetero/comm/threads/threads_state.h"

#include "absl/strings/str_cat.h"
#include "hetero/comm/threads/hub.h"

namespace hetero::internal {

ThreadsState::ThreadsState(int64_t num_ranks, absl::Duration timeout) : timeout_(timeout) {
  for (int64_t i = 0; i < num_ranks; ++i) activities_.push_back(std::make_unique<Activity>());
}

ThreadsState::~ThreadsState() = default;

Hub& ThreadsState::HubOf(const CommunicatorKey& key) {
  absl::MutexLock lock(&hubs_mutex_);
  std::unique_ptr<Hub>& hub = hubs_[key];
  if (hub == nullptr) hub = std::make_unique<Hub>(*this, key);
  return *hub;
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
  absl::MutexLock lock(&hubs_mutex_);
  for (auto& [key, hub] : hubs_) hub->WakeAll();
}

absl::Status ThreadsState::cause() const {
  absl::MutexLock lock(&cause_mutex_);
  return cause_;
}

absl::Status ThreadsState::AbortedError(std::string_view call) const {
  const absl::Status first = cause();
  return absl::AbortedError(absl::StrCat(
      call, ": the run was aborted by its first failure: ", absl::StatusCodeToString(first.code()),
      ": ", first.message()));
}

void ThreadsState::Enter(GlobalRank rank, std::string_view call, std::string_view communicator) {
  Activity& activity = *activities_[static_cast<size_t>(rank.value())];
  absl::MutexLock lock(&activity.mutex);
  activity.call.assign(call);
  activity.communicator.assign(communicator);
  activity.inside = true;
}

void ThreadsState::Leave(GlobalRank rank) {
  Activity& activity = *activities_[static_cast<size_t>(rank.value())];
  absl::MutexLock lock(&activity.mutex);
  activity.inside = false;
}

std::string ThreadsState::Describe(GlobalRank rank) const {
  const Activity& activity = *activities_[static_cast<size_t>(rank.value())];
  absl::MutexLock lock(&activity.mutex);
  if (activity.call.empty()) return absl::StrCat("rank ", rank, " (no call yet)");
  return absl::StrCat("rank ", rank, activity.inside ? " (is in '" : " (left '", activity.call,
                      "' on ", activity.communicator, ")");
}

}  // namespace hetero::internal
