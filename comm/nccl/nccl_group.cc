#include "hetero/comm/nccl/nccl_group.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/checked_communicator.h"
#include "hetero/comm/nccl/nccl_status.h"
#include "hetero/tensor/cuda/status.h"

namespace hetero::internal {
namespace {

// NCCL queues a call on a thread of its own, in some tens of microseconds: less than a pause takes.
// Only where it has to make a connection first does it take milliseconds.
constexpr absl::Duration kSpin = absl::Microseconds(300);
constexpr absl::Duration kPause = absl::Microseconds(50);

}  // namespace

NcclGroup::NcclGroup(ThreadsState& state, const CommunicatorKey& key,
                     std::span<const Device> devices)
    : state_(state),
      members_(key.members),
      text_(ToString("nccl", key)),
      log_(key.members),
      joined_(key.members.size()) {
  for (const GlobalRank rank : members_) {
    devices_.push_back(devices[static_cast<size_t>(rank.value())]);
    member_states_.push_back(std::make_unique<Member>());
  }
}

std::string NcclGroup::Describe(std::span<const GroupRank> ranks) {
  return absl::StrJoin(ranks, ", ", [&](std::string* out, GroupRank rank) {
    absl::StrAppend(out, state_.Describe(RankOf(rank)));
  });
}

absl::Status NcclGroup::Fail(GroupRank me, const absl::Status& status) {
  const absl::Status located = Annotate(status, text_);
  state_.Abort(Annotate(located, absl::StrCat("rank ", RankOf(me))));
  return located;
}

absl::Status NcclGroup::Aborted(std::string_view what) const {
  return state_.AbortedError(absl::StrCat(text_, ": ", what));
}

absl::Status NcclGroup::Late(std::string_view what, std::span<const GroupRank> laggards) {
  const std::string waited = absl::StrCat(what, " waited ", absl::FormatDuration(state_.timeout()));
  return absl::DeadlineExceededError(
      laggards.empty()
          ? absl::StrCat(waited, " for its GPUs: every member has issued it, and it does not end")
          : absl::StrCat(waited, " for ", Describe(laggards)));
}

absl::StatusOr<ncclUniqueId> NcclGroup::Id() {
  absl::MutexLock lock(&join_mutex_);
  if (!has_id_) {
    HETERO_RETURN_IF_ERROR(ToStatus(ncclGetUniqueId(&id_), "ncclGetUniqueId"));
    has_id_ = true;
  }
  return id_;
}

std::vector<GroupRank> NcclGroup::NotJoined() {
  absl::MutexLock lock(&join_mutex_);
  std::vector<GroupRank> ranks;
  for (size_t i = 0; i < joined_.size(); ++i) {
    if (!joined_[i]) ranks.emplace_back(static_cast<int64_t>(i));
  }
  return ranks;
}

absl::Status NcclGroup::Join(GroupRank me) {
  Member& self = member(me);
  const size_t index = static_cast<size_t>(me.value());
  const Device device = devices_[index];
  const auto size = static_cast<int64_t>(members_.size());
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(device.ordinal));
  HETERO_ASSIGN_OR_RETURN(self.messages, Stream::Create(device, self.no_workspace));
  HETERO_ASSIGN_OR_RETURN(
      self.scratch, Buffer::Allocate(device, MemoryLabel::kWorkspace, 2 * size * 4, self.memory));
  HETERO_ASSIGN_OR_RETURN(const ncclUniqueId id, Id());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = text_.c_str();
  {
    absl::MutexLock lock(&self.mutex);
    if (state_.aborted()) return Aborted("create");
    const ncclResult_t code = ncclCommInitRankConfig(&self.handle, static_cast<int>(size), id,
                                                     static_cast<int>(index), &config);
    if (const absl::Status status = ToStatus(code, "ncclCommInitRankConfig"); !status.ok()) {
      return Fail(me, status);
    }
  }
  {
    absl::MutexLock lock(&join_mutex_);
    joined_[index] = true;
  }
  HETERO_RETURN_IF_ERROR(AwaitQueued(me, "create", [&] { return NotJoined(); }));
  const TensorView scratch = self.scratch.View(DType::kF32, {2, size});
  const auto stream = static_cast<cudaStream_t>(self.messages->handle());
  const IssueLog::Place nobody_lags = {.member = me};
  return Queue(me, "connect", nobody_lags, [&](ncclComm_t handle) {
    ncclResult_t code = ncclSuccess;
    for (int peer = 0; peer < size && code == ncclSuccess; ++peer) {
      if (peer == static_cast<int>(index)) continue;
      code = ncclSend(scratch.At(0).Rows(peer, 1).address(), 1, ncclFloat32, peer, handle, stream);
      if (code != ncclSuccess) break;
      code = ncclRecv(scratch.At(1).Rows(peer, 1).address(), 1, ncclFloat32, peer, handle, stream);
    }
    return code;
  });
}

absl::Status NcclGroup::Queue(GroupRank me, std::string_view what, const IssueLog::Place& place,
                              absl::FunctionRef<ncclResult_t(ncclComm_t)> calls) {
  Member& self = member(me);
  {
    absl::MutexLock lock(&self.mutex);
    if (state_.aborted() || self.handle == nullptr) return Aborted(what);
    HETERO_RETURN_IF_ERROR(ToStatus(ncclGroupStart(), "ncclGroupStart"));
    const ncclResult_t code = calls(self.handle);
    const ncclResult_t end = ncclGroupEnd();
    for (const ncclResult_t result : {code, end}) {
      if (const absl::Status status = ToStatus(result, what); !status.ok()) {
        return Fail(me, status);
      }
    }
  }
  return AwaitQueued(me, what, [&] { return log_.Laggards(place); });
}

absl::Status NcclGroup::AwaitQueued(GroupRank me, std::string_view what,
                                    absl::FunctionRef<std::vector<GroupRank>()> laggards) {
  const absl::Status status = PollUntilQueued(me, what, laggards);
  // NCCL's thread may still be launching on a stream that the caller destroys next.
  if (!status.ok()) member(me).released.WaitForNotification();
  return status;
}

absl::Status NcclGroup::PollUntilQueued(GroupRank me, std::string_view what,
                                        absl::FunctionRef<std::vector<GroupRank>()> laggards) {
  Member& self = member(me);
  const absl::Duration start = state_.clock().Now();
  while (true) {
    ncclResult_t state = ncclInProgress;
    {
      absl::MutexLock lock(&self.mutex);
      if (state_.aborted() || self.handle == nullptr) return Aborted(what);
      const ncclResult_t code = ncclCommGetAsyncError(self.handle, &state);
      if (code != ncclSuccess) state = code;
    }
    if (state == ncclSuccess) return absl::OkStatus();
    if (const absl::Status status = ToStatus(state, what); !status.ok()) return Fail(me, status);
    const absl::Duration waited = state_.clock().Now() - start;
    if (waited > state_.timeout()) return Fail(me, Late(what, laggards()));
    if (waited > kSpin) absl::SleepFor(kPause);
  }
}

absl::Status NcclGroup::Track(GroupRank me, std::string what, IssueLog::Place place,
                              Stream& stream) {
  Member& self = member(me);
  Outstanding call = {
      .what = std::move(what), .place = std::move(place), .issued = state_.clock().Now()};
  absl::MutexLock lock(&self.mutex);
  if (self.spare_events.empty()) {
    HETERO_ASSIGN_OR_RETURN(call.end, Event::Create(stream.device()));
  } else {
    call.end = std::move(self.spare_events.back());
    self.spare_events.pop_back();
  }
  HETERO_RETURN_IF_ERROR(call.end.Record(stream));
  self.calls.push_back(std::move(call));
  return absl::OkStatus();
}

void NcclGroup::Poll() {
  const absl::Duration now = state_.clock().Now();
  for (size_t i = 0; i < members_.size(); ++i) {
    const GroupRank rank(static_cast<int64_t>(i));
    if (const absl::Status status = PollMember(rank, now); !status.ok()) {
      static_cast<void>(Fail(rank, status));
    }
  }
}

absl::Status NcclGroup::PollMember(GroupRank rank, absl::Duration now) {
  Member& self = member(rank);
  absl::MutexLock lock(&self.mutex);
  if (self.handle == nullptr) return absl::OkStatus();
  ncclResult_t state = ncclSuccess;
  const ncclResult_t code = ncclCommGetAsyncError(self.handle, &state);
  HETERO_RETURN_IF_ERROR(ToStatus(code == ncclSuccess ? state : code, "NCCL"));
  while (!self.calls.empty()) {
    HETERO_ASSIGN_OR_RETURN(const bool done, self.calls.front().end.IsDone());
    if (!done) break;
    self.spare_events.push_back(std::move(self.calls.front().end));
    self.calls.pop_front();
  }
  // Collectives and exchanges are on two streams: one may be late behind another that is not.
  for (Outstanding& call : self.calls) {
    const std::vector<GroupRank> laggards = log_.Laggards(call.place);
    if (laggards.empty()) call.complete = std::min(call.complete, now);
    if (now - (laggards.empty() ? call.complete : call.issued) > state_.timeout()) {
      return Late(call.what, laggards);
    }
  }
  return absl::OkStatus();
}

bool NcclGroup::Idle() {
  return std::ranges::all_of(member_states_, [](const auto& member) {
    absl::MutexLock lock(&member->mutex);
    return member->calls.empty();
  });
}

void NcclGroup::TakeDown(std::vector<std::thread>& threads) {
  for (const auto& member : member_states_) {
    absl::MutexLock lock(&member->mutex);
    const ncclComm_t handle = std::exchange(member->handle, nullptr);
    if (handle == nullptr) continue;
    const auto abort = [handle, &released = member->released] {
      const absl::Status status = ToStatus(ncclCommAbort(handle), "ncclCommAbort");
      if (!status.ok()) LOG(ERROR) << status;
      released.Notify();
    };
    absl::StatusOr<std::thread> thread = StartThread("an abort of NCCL", abort);
    if (thread.ok()) {
      threads.push_back(*std::move(thread));
    } else {
      abort();
    }
  }
}

}  // namespace hetero::internal
