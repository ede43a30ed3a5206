#include "hetero/comm/nccl/nccl_member.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <utility>

#include "absl/log/log.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/nccl/nccl_status.h"
#include "hetero/tensor/cuda/status.h"

namespace hetero::internal {
namespace {

// NCCL queues a call on a thread of its own, in some tens of microseconds: less than a pause takes.
// Only where it has to make a connection first does it take milliseconds.
constexpr absl::Duration kSpin = absl::Microseconds(300);
constexpr absl::Duration kPause = absl::Microseconds(50);

// What the making of a handle is in the log of calls.
Call Creation() {
  Call call;
  call.Set({.kind = CollectiveKind::kBroadcast, .name = "create"}, Device());
  return call;
}

}  // namespace

NcclMember::NcclMember(NcclRun& run, const CommunicatorKey& key, GroupRank me, Device device,
                       std::unique_ptr<NcclPeers> peers)
    : run_(run),
      key_(key),
      text_(ToString("nccl", key)),
      me_(me),
      device_(device),
      peers_(std::move(peers)) {}

absl::Status NcclMember::Fail(const absl::Status& status) {
  const absl::Status located = Annotate(status, text_);
  run_.Abort(Annotate(located, absl::StrCat("rank ", rank())));
  return located;
}

absl::Status NcclMember::Aborted(std::string_view what) const {
  return run_.AbortedError(absl::StrCat(text_, ": ", what));
}

absl::Status NcclMember::Join(const CommunicatorOptions& options, NcclMember* parent) {
  HETERO_RETURN_IF_CUDA_ERROR(cudaSetDevice(device_.ordinal));
  HETERO_ASSIGN_OR_RETURN(messages_, Stream::Create(device_, no_workspace_));
  HETERO_RETURN_IF_ERROR(MakeHandle(parent));
  return Connect(options);
}

absl::Status NcclMember::MakeHandle(NcclMember* parent) {
  constexpr std::string_view kWhat = "create";
  ncclUniqueId id;
  if (parent == nullptr) {
    HETERO_ASSIGN_OR_RETURN(id, peers_->Id());
  } else {
    // NCCL splits only what has nothing in flight.
    HETERO_RETURN_IF_ERROR(parent->messages().Synchronize());
  }
  absl::StatusOr<IssueLog::Place> place = peers_->Collective(Creation());
  if (!place.ok()) return Fail(place.status());
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = text_.c_str();
  {
    absl::MutexLock lock(&mutex_);
    if (run_.aborted()) return Aborted(kWhat);
    queueing_ = {.what = std::string(kWhat), .place = *place, .issued = run_.Now()};
    const auto me = static_cast<int>(me_.value());
    if (parent == nullptr) {
      const ncclResult_t code =
          ncclCommInitRankConfig(&handle_, static_cast<int>(key_.members.size()), id, me, &config);
      const absl::Status status = ToStatus(code, "ncclCommInitRankConfig");
      if (!status.ok()) return Fail(status);
    }
  }
  if (parent != nullptr) {
    const auto split = [&](ncclComm_t of) {
      absl::MutexLock lock(&mutex_);
      return ncclCommSplit(of, 0, static_cast<int>(me_.value()), &handle_, &config);
    };
    // The parent is busy until the new handle is there.
    HETERO_RETURN_IF_ERROR(parent->Queue("split", nullptr, split));
  }
  return AwaitQueued(kWhat);
}

absl::Status NcclMember::Connect(const CommunicatorOptions& options) {
  std::vector<int> peers;
  for (size_t i = 0; i < key_.members.size(); ++i) {
    if (key_.members[i] == rank()) continue;
    if (options.exchange_peers.has_value() &&
        std::ranges::find(*options.exchange_peers, key_.members[i]) ==
            options.exchange_peers->end()) {
      continue;
    }
    peers.push_back(static_cast<int>(i));
  }
  if (peers.empty()) return absl::OkStatus();
  const auto size = static_cast<int64_t>(peers.size());
  HETERO_ASSIGN_OR_RETURN(
      scratch_, Buffer::Allocate(device_, MemoryLabel::kWorkspace, 2 * size * 4, memory_));
  const TensorView scratch = scratch_.View(DType::kF32, {2, size});
  const auto stream = static_cast<cudaStream_t>(messages_->handle());
  std::vector<PostedMessage> posted;
  for (const int peer : peers) {
    for (const bool is_send : {true, false}) {
      posted.push_back({GroupRank(peer), is_send, DType::kF32, 1});
    }
  }
  HETERO_ASSIGN_OR_RETURN(const IssueLog::Place place, peers_->Exchange(posted));
  return Queue("connect", &place, [&](ncclComm_t handle) {
    for (int64_t i = 0; i < size; ++i) {
      const int peer = peers[static_cast<size_t>(i)];
      ncclResult_t code =
          ncclSend(scratch.At(0).Rows(i, 1).address(), 1, ncclFloat32, peer, handle, stream);
      if (code == ncclSuccess) {
        code = ncclRecv(scratch.At(1).Rows(i, 1).address(), 1, ncclFloat32, peer, handle, stream);
      }
      if (code != ncclSuccess) return code;
    }
    return ncclSuccess;
  });
}

absl::Status NcclMember::Queue(std::string_view what, const IssueLog::Place* place,
                               absl::FunctionRef<ncclResult_t(ncclComm_t)> calls) {
  {
    absl::MutexLock lock(&mutex_);
    if (run_.aborted() || handle_ == nullptr) return Aborted(what);
    if (place != nullptr) {
      queueing_ = {.what = std::string(what), .place = *place, .issued = run_.Now()};
    }
    HETERO_RETURN_IF_ERROR(ToStatus(ncclGroupStart(), "ncclGroupStart"));
    const ncclResult_t code = calls(handle_);
    const ncclResult_t end = ncclGroupEnd();
    for (const ncclResult_t result : {code, end}) {
      if (const absl::Status status = ToStatus(result, what); !status.ok()) return Fail(status);
    }
  }
  return AwaitQueued(what);
}

absl::Status NcclMember::AwaitQueued(std::string_view what) {
  const absl::Status status = PollUntilQueued(what);
  {
    absl::MutexLock lock(&mutex_);
    queueing_.reset();
  }
  // NCCL's thread may still be launching on a stream that the caller destroys next.
  if (!status.ok()) released_.WaitForNotification();
  return status;
}

absl::Status NcclMember::PollUntilQueued(std::string_view what) {
  const absl::Duration start = run_.Now();
  while (true) {
    ncclResult_t state = ncclInProgress;
    {
      absl::MutexLock lock(&mutex_);
      if (run_.aborted() || handle_ == nullptr) return Aborted(what);
      const ncclResult_t code = ncclCommGetAsyncError(handle_, &state);
      if (code != ncclSuccess) state = code;
    }
    if (state == ncclSuccess) return absl::OkStatus();
    if (const absl::Status status = ToStatus(state, what); !status.ok()) return Fail(status);
    if (run_.Now() - start > kSpin) absl::SleepFor(kPause);
  }
}

absl::Status NcclMember::Track(std::string what, IssueLog::Place place, Stream& stream) {
  Outstanding tracked = {
      .call = {.what = std::move(what), .place = std::move(place), .issued = run_.Now()}};
  absl::MutexLock lock(&mutex_);
  if (spare_events_.empty()) {
    HETERO_ASSIGN_OR_RETURN(tracked.end, Event::Create(stream.device()));
  } else {
    tracked.end = std::move(spare_events_.back());
    spare_events_.pop_back();
  }
  HETERO_RETURN_IF_ERROR(tracked.end.Record(stream));
  calls_.push_back(std::move(tracked));
  return absl::OkStatus();
}

void NcclMember::Poll() {
  if (const absl::Status status = LookAtCalls(); !status.ok()) static_cast<void>(Fail(status));
}

absl::Status NcclMember::LookAtCalls() {
  absl::MutexLock lock(&mutex_);
  if (handle_ != nullptr) {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t code = ncclCommGetAsyncError(handle_, &state);
    HETERO_RETURN_IF_ERROR(ToStatus(code == ncclSuccess ? state : code, "NCCL"));
  }
  int64_t num_ended = 0;
  while (!calls_.empty()) {
    HETERO_ASSIGN_OR_RETURN(const bool done, calls_.front().end.IsDone());
    if (!done) break;
    spare_events_.push_back(std::move(calls_.front().end));
    calls_.pop_front();
    ++num_ended;
  }
  std::vector<NcclCall*> calls;
  for (Outstanding& outstanding : calls_) calls.push_back(&outstanding.call);
  if (queueing_.has_value()) calls.push_back(&*queueing_);
  return peers_->Look(calls, num_ended);
}

bool NcclMember::Idle() {
  absl::MutexLock lock(&mutex_);
  return calls_.empty();
}

void NcclMember::TakeDown(std::vector<std::thread>& threads) {
  absl::MutexLock lock(&mutex_);
  const ncclComm_t handle = std::exchange(handle_, nullptr);
  if (handle == nullptr) {
    if (!released_.HasBeenNotified()) released_.Notify();
    return;
  }
  const auto abort = [handle, &released = released_] {
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

}  // namespace hetero::internal
