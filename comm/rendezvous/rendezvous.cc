#include "hetero/comm/rendezvous/rendezvous.h"

#include <poll.h>

#include <map>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/aborted_by.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/comm/rendezvous/frame.h"
#include "hetero/comm/rendezvous/socket.h"
#include "hetero/comm/rendezvous/wake_pipe.h"

namespace hetero {
namespace internal {
namespace {

// Within this a rendezvous that lives has answered.
constexpr absl::Duration kAnswer = absl::Seconds(1);
constexpr std::string_view kServerIsGone =
    "rank 0: its process ended, or its host is gone, and the rendezvous with it";

}  // namespace

class ClientLoop {
 public:
  ClientLoop(const RendezvousOptions& options, std::string address, Socket socket)
      : options_(options),
        address_(std::move(address)),
        clock_(options.timeout),
        connection_(std::move(socket)) {}

  ~ClientLoop() {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
    }
    wake_.Wake();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Start() {
    Send({.kind = FrameKind::kHello,
          .number = options_.rank.value(),
          .texts = {absl::StrCat(options_.world_size)}});
    HETERO_ASSIGN_OR_RETURN(
        thread_,
        StartThread(absl::StrCat("the rendezvous of rank ", options_.rank), [this] { Loop(); }));
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](ClientLoop* self) ABSL_SHARED_LOCKS_REQUIRED(self->mutex_) {
          return self->welcome_ || !self->cause_.ok();
        },
        this));
    return cause_;
  }

  const RendezvousOptions& options() const { return options_; }
  const std::string& address() const { return address_; }

  void Send(const Frame& frame) {
    {
      absl::MutexLock lock(&mutex_);
      connection_.Send(frame);
    }
    wake_.Wake();
  }

  absl::Status Put(std::string_view key, std::string_view value) {
    HETERO_RETURN_IF_ERROR(Aborted());
    Send({.kind = FrameKind::kPut, .texts = {std::string(key), std::string(value)}});
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Get(std::string_view key, GlobalRank giver) {
    Question question;
    {
      absl::MutexLock lock(&mutex_);
      question.number = ++num_questions_;
      questions_[question.number] = &question;
      question.activity = {.call = absl::StrCat("'", key, "' of the rendezvous"),
                           .in_call = true,
                           .waits_for = {giver}};
      asking_ = &question;
      ++got_on_;
    }
    Send({.kind = FrameKind::kGet, .number = question.number, .texts = {std::string(key)}});
    absl::MutexLock lock(&mutex_);
    question.loop = this;
    mutex_.Await(absl::Condition(
        +[](Question* q) ABSL_NO_THREAD_SAFETY_ANALYSIS {
          return q->value.has_value() || !q->loop->cause_.ok();
        },
        &question));
    questions_.erase(question.number);
    asking_ = nullptr;
    ++got_on_;
    if (question.value.has_value()) return *std::move(question.value);
    return AbortedBy(cause_, absl::StrCat("waiting for '", key, "' from rank ", giver));
  }

  void GotOn() {
    absl::MutexLock lock(&mutex_);
    ++got_on_;
  }

  void SetActivity(std::function<RankActivity()> activity) {
    absl::MutexLock lock(&calls_mutex_);
    activity_ = std::move(activity);
  }

  void Abort(const absl::Status& cause) {
    Send({.kind = FrameKind::kAbort, .texts = EncodeStatus(cause)});
    // Another rank may have been first, which the rendezvous knows; where it is gone, nobody does.
    bool told = false;
    {
      absl::MutexLock lock(&mutex_);
      told = mutex_.AwaitWithTimeout(absl::Condition(
                                         +[](ClientLoop* self) ABSL_SHARED_LOCKS_REQUIRED(
                                              self->mutex_) { return !self->cause_.ok(); },
                                         this),
                                     kAnswer);
    }
    if (!told) Fail(cause);
  }

  void Watch(std::function<void(const absl::Status&)> on_abort) {
    absl::MutexLock lock(&calls_mutex_);
    on_abort_ = std::move(on_abort);
    TellIfAborted();
  }

  absl::Status cause() const {
    absl::MutexLock lock(&mutex_);
    return cause_;
  }

  void Leave() {
    {
      absl::MutexLock lock(&mutex_);
      leaving_ = true;
    }
    Send({.kind = FrameKind::kLeave});
  }

 private:
  struct Question {
    int64_t number = 0;
    std::optional<std::string> value;
    RankActivity activity;
    const ClientLoop* loop = nullptr;
  };

  absl::Status Aborted() const {
    absl::MutexLock lock(&mutex_);
    return cause_.ok() ? absl::OkStatus() : AbortedBy(cause_, "rendezvous");
  }

  void Fail(const absl::Status& cause) {
    {
      absl::MutexLock lock(&mutex_);
      if (!cause_.ok()) return;
      cause_ = cause;
    }
    absl::MutexLock lock(&calls_mutex_);
    TellIfAborted();
  }

  void TellIfAborted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(calls_mutex_) {
    const absl::Status failure = cause();
    if (failure.ok() || on_abort_ == nullptr) return;
    std::exchange(on_abort_, nullptr)(failure);
  }

  void Loop() {
    absl::Duration last_sign = clock_.Now();
    absl::Duration last_beat = last_sign - clock_.tick();
    while (true) {
      int events = POLLIN;
      {
        absl::MutexLock lock(&mutex_);
        if (closing_ && !connection_.has_unsent()) return;
        if (connection_.has_unsent()) events |= POLLOUT;
      }
      pollfd polled[] = {{wake_.descriptor(), POLLIN, 0},
                         {connection_.descriptor(), static_cast<int16_t>(events), 0}};
      poll(polled, 2, static_cast<int>(absl::ToInt64Milliseconds(clock_.tick())));
      wake_.Drain();
      const absl::Duration now = clock_.Now();
      if (now - last_beat >= clock_.tick()) {
        last_beat = now;
        const RankActivity activity = Activity();
        absl::MutexLock lock(&mutex_);
        connection_.Send({.kind = FrameKind::kActivity, .texts = {EncodeActivity(activity)}});
      }
      const bool heard = polled[1].revents != 0;
      if (!Exchange()) return;
      if (heard) last_sign = now;
      if (now - last_sign <= options_.timeout) continue;
      Fail(absl::UnavailableError(
          absl::StrCat("rank 0: no sign of life from its rendezvous for ",
                       absl::FormatDuration(options_.timeout),
                       ": its process is stopped or its host cannot be reached")));
      return;
    }
  }

  // False when there is no connection any more.
  bool Exchange() {
    std::vector<Frame> frames;
    absl::Status status;
    bool leaving = false;
    {
      absl::MutexLock lock(&mutex_);
      status = connection_.Flush();
      status.Update(connection_.Read());
      while (true) {
        absl::StatusOr<std::optional<Frame>> frame = connection_.Next();
        if (!frame.ok()) status.Update(frame.status());
        if (!frame.ok() || !frame->has_value()) break;
        frames.push_back(**std::move(frame));
      }
      leaving = leaving_ || closing_;
    }
    for (const Frame& frame : frames) Handle(frame);
    if (status.ok()) return true;
    if (!leaving) {
      Fail(absl::UnavailableError(kServerIsGone));
    }
    return false;
  }

  void Handle(const Frame& frame) {
    if (frame.kind == FrameKind::kAbort) {
      Fail(DecodeStatus(frame.texts));
      return;
    }
    absl::MutexLock lock(&mutex_);
    if (frame.kind == FrameKind::kWelcome) welcome_ = true;
    if (frame.kind != FrameKind::kValue || frame.texts.size() != 1) return;
    const auto question = questions_.find(frame.number);
    if (question != questions_.end()) question->second->value = frame.texts[0];
  }

  RankActivity Activity() {
    RankActivity activity;
    {
      absl::MutexLock lock(&calls_mutex_);
      if (activity_ != nullptr) activity = activity_();
    }
    absl::MutexLock lock(&mutex_);
    const int64_t progress = activity.progress + got_on_;
    if (asking_ != nullptr) activity = asking_->activity;
    activity.progress = progress;
    return activity;
  }

  const RendezvousOptions options_;
  const std::string address_;
  AwakeClock clock_;
  WakePipe wake_;
  std::thread thread_;
  // Around what is called from here, which may call the rendezvous: never taken under mutex_.
  absl::Mutex calls_mutex_;
  std::function<RankActivity()> activity_ ABSL_GUARDED_BY(calls_mutex_);
  std::function<void(const absl::Status&)> on_abort_ ABSL_GUARDED_BY(calls_mutex_);
  mutable absl::Mutex mutex_;
  Connection connection_;  // what it reads and writes is guarded by mutex_
  bool welcome_ ABSL_GUARDED_BY(mutex_) = false;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t got_on_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_questions_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, Question*> questions_ ABSL_GUARDED_BY(mutex_);
  const Question* asking_ ABSL_GUARDED_BY(mutex_) = nullptr;
  absl::Status cause_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal

Rendezvous::Rendezvous(std::unique_ptr<internal::ClientLoop> loop) : loop_(std::move(loop)) {}
Rendezvous::~Rendezvous() = default;

absl::StatusOr<std::unique_ptr<Rendezvous>> Rendezvous::Join(const RendezvousOptions& options) {
  absl::StatusOr<internal::Socket> socket =
      internal::Connect(options.host, options.port,
                        options.is_listening ? absl::ZeroDuration() : options.arrival_timeout);
  if (absl::IsUnavailable(socket.status()) && options.is_listening) {
    return absl::UnavailableError(internal::kServerIsGone);
  }
  HETERO_RETURN_IF_ERROR(socket.status());
  HETERO_ASSIGN_OR_RETURN(std::string address, internal::AddressOf(*socket));
  auto loop =
      std::make_unique<internal::ClientLoop>(options, std::move(address), *std::move(socket));
  HETERO_RETURN_IF_ERROR(loop->Start());
  return std::unique_ptr<Rendezvous>(new Rendezvous(std::move(loop)));
}

GlobalRank Rendezvous::rank() const { return loop_->options().rank; }
int64_t Rendezvous::world_size() const { return loop_->options().world_size; }
const std::string& Rendezvous::address() const { return loop_->address(); }

absl::Status Rendezvous::Put(std::string_view key, std::string_view value) {
  return loop_->Put(key, value);
}
absl::StatusOr<std::string> Rendezvous::Get(std::string_view key, GlobalRank giver) {
  return loop_->Get(key, giver);
}

absl::Status Rendezvous::Barrier(std::string_view name, std::span<const GlobalRank> members) {
  const GlobalRank first = members.front();
  const std::string open = absl::StrCat(name, "/open");
  if (rank() != first) {
    HETERO_RETURN_IF_ERROR(Put(absl::StrCat(name, "/", rank()), ""));
    return Get(open, first).status();
  }
  for (const GlobalRank member : members.subspan(1)) {
    HETERO_RETURN_IF_ERROR(Get(absl::StrCat(name, "/", member), member).status());
  }
  return Put(open, "");
}

absl::StatusOr<absl::Duration> Rendezvous::ClockAhead() {
  constexpr int kRounds = 8;
  absl::Duration ahead;
  absl::Duration shortest = absl::InfiniteDuration();
  for (int i = 0; i < kRounds; ++i) {
    const absl::Time asked = absl::Now();
    HETERO_ASSIGN_OR_RETURN(const std::string answer, Get(internal::kClockKey, GlobalRank(0)));
    const absl::Time answered = absl::Now();
    int64_t nanoseconds = 0;
    if (!absl::SimpleAtoi(answer, &nanoseconds)) {
      return absl::InternalError(absl::StrCat("the rendezvous tells the time '", answer, "'"));
    }
    if (answered - asked >= shortest) continue;
    shortest = answered - asked;
    ahead = asked + shortest / 2 - absl::FromUnixNanos(nanoseconds);
  }
  return ahead;
}

void Rendezvous::GotOn() { loop_->GotOn(); }
void Rendezvous::SetActivity(std::function<RankActivity()> activity) {
  loop_->SetActivity(std::move(activity));
}
void Rendezvous::Abort(const absl::Status& cause) { loop_->Abort(cause); }
void Rendezvous::Watch(std::function<void(const absl::Status&)> on_abort) {
  loop_->Watch(std::move(on_abort));
}
absl::Status Rendezvous::HealthCheck() const { return loop_->cause(); }
void Rendezvous::Leave() { loop_->Leave(); }

}  // namespace hetero
