#include "hetero/comm/processes/processes_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/comm/aborted_by.h"

namespace hetero::internal {
namespace {

constexpr int64_t kFlightCalls = 16;

// A connection ends with the process behind it, and a moment later the rendezvous knows why.
constexpr absl::Duration kReason = absl::Seconds(2);

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessesState>> ProcessesState::Create(Rendezvous& rendezvous) {
  HETERO_ASSIGN_OR_RETURN(
      std::unique_ptr<GlooTransport> transport,
      GlooTransport::Create(rendezvous.rank(), rendezvous.world_size(), rendezvous.address()));
  return std::make_unique<ProcessesState>(rendezvous, std::move(transport));
}

ProcessesState::ProcessesState(Rendezvous& rendezvous, std::unique_ptr<GlooTransport> transport)
    : rendezvous_(rendezvous), transport_(std::move(transport)), flight_(kFlightCalls) {
  rendezvous_.SetActivity([this] { return Activity(); });
  rendezvous_.Watch([this](const absl::Status&) { Interrupt(); });
}

ProcessesState::~ProcessesState() {
  rendezvous_.Watch(nullptr);
  rendezvous_.SetActivity(nullptr);
}

absl::Status ProcessesState::Connect(std::vector<GlobalRank> peers, std::string_view text) {
  const GlobalRank me = rendezvous_.rank();
  const auto name = [](std::string_view what, GlobalRank from, GlobalRank to) {
    return absl::StrCat(what, "/", from, "/", to);
  };
  std::erase_if(peers, [&](GlobalRank peer) { return transport_->IsOpen(peer); });
  for (const GlobalRank peer : peers) {
    HETERO_ASSIGN_OR_RETURN(const std::string opened, transport_->Open(peer));
    HETERO_RETURN_IF_ERROR(rendezvous_.Put(name("messages", me, peer), opened));
  }
  // Two at a time, as neither waits long at the other's port. By peer, every rank takes its pairs
  // in the one order that all pairs have by their lower and then their higher rank: nobody waits in
  // a circle.
  std::ranges::sort(peers);
  for (const GlobalRank peer : peers) {
    HETERO_ASSIGN_OR_RETURN(const std::string opened,
                            rendezvous_.Get(name("messages", peer, me), peer));
    HETERO_RETURN_IF_ERROR(rendezvous_.Put(name("connects", me, peer), ""));
    HETERO_RETURN_IF_ERROR(rendezvous_.Get(name("connects", peer, me), peer).status());
    HETERO_RETURN_IF_ERROR(transport_->Connect(peer, opened))
        .With(absl::StrCat(text, ": connecting to rank ", peer));
  }
  return absl::OkStatus();
}

void ProcessesState::BeginCall(std::string_view name, std::string_view where) {
  absl::MutexLock lock(&mutex_);
  ++activity_.progress;
  activity_.in_call = true;
  activity_.call.assign(name);
  where_.assign(where);
}

void ProcessesState::EndCall() {
  absl::MutexLock lock(&mutex_);
  ++activity_.progress;
  activity_.in_call = false;
  activity_.waits_for.clear();
}

void ProcessesState::GotOn() {
  absl::MutexLock lock(&mutex_);
  ++activity_.progress;
}

void ProcessesState::SetDescribe(std::function<void(RankActivity&)> describe) {
  absl::MutexLock lock(&describe_mutex_);
  describe_ = std::move(describe);
}

RankActivity ProcessesState::Activity() {
  RankActivity activity;
  {
    absl::MutexLock lock(&mutex_);
    activity = activity_;
    if (!activity.call.empty()) activity.call = absl::StrCat("'", activity.call, "' on ", where_);
  }
  absl::MutexLock lock(&describe_mutex_);
  if (describe_ != nullptr) describe_(activity);
  return activity;
}

absl::Status ProcessesState::Await(PendingMessage& message, GlobalRank peer,
                                   std::string_view where) {
  {
    absl::MutexLock lock(&mutex_);
    waiting_ = &message;
    activity_.waits_for.assign(1, peer);
    if (interrupted()) message.Interrupt();
  }
  const absl::Status done = message.Wait();
  {
    absl::MutexLock lock(&mutex_);
    waiting_ = nullptr;
    activity_.waits_for.clear();
    ++activity_.progress;
  }
  if (done.ok()) return done;
  if (absl::IsCancelled(done)) return AbortedError(where);
  for (const absl::Time last = absl::Now() + kReason; absl::Now() < last;) {
    if (!rendezvous_.HealthCheck().ok()) return AbortedError(where);
    absl::SleepFor(absl::Milliseconds(10));
  }
  return Fail(absl::UnavailableError(
      absl::StrCat(where, ": the connection to rank ", peer, " is lost: ", done.message())));
}

absl::Status ProcessesState::Fail(const absl::Status& status) {
  rendezvous_.Abort(Annotate(status, absl::StrCat("rank ", rendezvous_.rank())));
  return status;
}

std::string ProcessesState::DescribeLastCalls() const {
  return flight_.ToText(absl::StrCat("rank ", rendezvous_.rank()));
}

std::vector<RankFlight> ProcessesState::Flights() const {
  return {{.rank = rendezvous_.rank(),
           .world_size = rendezvous_.world_size(),
           .calls = flight_.Snapshot()}};
}

absl::Status ProcessesState::AbortedError(std::string_view call) const {
  return AbortedBy(rendezvous_.HealthCheck(), call);
}

void ProcessesState::Interrupt() {
  absl::MutexLock lock(&mutex_);
  interrupted_.store(true, std::memory_order_release);
  if (waiting_ != nullptr) waiting_->Interrupt();
}

}  // namespace hetero::internal
