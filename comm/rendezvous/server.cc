#include "hetero/comm/rendezvous/server.h"

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <list>
#include <map>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "hetero/base/status.h"
#include "hetero/base/thread.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/comm/rendezvous/activity.h"
#include "hetero/comm/rendezvous/frame.h"
#include "hetero/comm/rendezvous/judge.h"
#include "hetero/comm/rendezvous/socket.h"
#include "hetero/comm/rendezvous/wake_pipe.h"

namespace hetero {
namespace internal {
namespace {

// What a rank needs to hear of a failure and to end, when the run has failed.
constexpr absl::Duration kPatience = absl::Seconds(10);

struct Peer {
  explicit Peer(Socket socket) : connection(std::move(socket)) {}

  Connection connection;
  std::optional<int64_t> rank;  // from its hello on
  bool refused = false;         // is told why, and heard no more
  bool gone = false;
};

struct RankState {
  RankView view;
  absl::Duration last_sign;
  absl::Duration last_progress;
};

}  // namespace

class ServerLoop {
 public:
  ServerLoop(const RendezvousServerOptions& options, Socket listening, int port)
      : options_(options),
        listening_(std::move(listening)),
        port_(port),
        clock_(std::min(options.timeout, options.arrival_timeout)),
        ranks_(static_cast<size_t>(options.world_size)) {}

  absl::Status Start() {
    HETERO_ASSIGN_OR_RETURN(thread_, StartThread("the rendezvous", [this] { Loop(); }));
    return absl::OkStatus();
  }

  ~ServerLoop() {
    closing_.store(true);
    wake_.Wake();
    if (thread_.joinable()) thread_.join();
  }

  int port() const { return port_; }

 private:
  void Loop() {
    absl::Duration last_beat = clock_.Now();
    while (!IsDone()) {
      Poll();
      const absl::Duration now = clock_.Now();
      if (now - last_beat < clock_.tick()) continue;
      last_beat = now;
      for (Peer& peer : peers_) peer.connection.Send({.kind = FrameKind::kBeat});
      if (cause_.ok()) Look(now);
    }
  }

  bool IsDone() {
    if (!closing_.load()) return false;
    if (!closing_since_.has_value()) closing_since_ = clock_.Now();
    const absl::Duration now = clock_.Now();
    const bool failed = !cause_.ok();
    bool somebody = false;
    for (const Peer& peer : peers_) {
      if (!peer.rank.has_value()) continue;
      // A rank that is stopped hears of no failure.
      const RankState& rank = ranks_[static_cast<size_t>(*peer.rank)];
      somebody = somebody || !failed || now - rank.last_sign < 3 * clock_.tick();
    }
    return !somebody || (failed && now - *closing_since_ > kPatience);
  }

  void Poll() {
    std::vector<pollfd> polled = {{wake_.descriptor(), POLLIN, 0},
                                  {listening_.descriptor(), POLLIN, 0}};
    for (const Peer& peer : peers_) {
      const int events = POLLIN | (peer.connection.has_unsent() ? POLLOUT : 0);
      polled.push_back({peer.connection.descriptor(), static_cast<int16_t>(events), 0});
    }
    const bool pressed = closing_.load();
    poll(polled.data(), polled.size(),
         pressed ? 20 : static_cast<int>(absl::ToInt64Milliseconds(clock_.tick())));
    wake_.Drain();
    size_t at = 2;
    for (Peer& peer : peers_) {
      if (polled[at++].revents != 0) Serve(peer);
    }
    // What one said may have been an answer for another.
    for (Peer& peer : peers_) {
      if (!peer.gone && !peer.connection.Flush().ok()) Lose(peer);
    }
    peers_.remove_if([](const Peer& peer) { return peer.gone; });
    if ((polled[1].revents & POLLIN) != 0) {
      Socket accepted(accept4(listening_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC));
      if (accepted.descriptor() >= 0) peers_.emplace_back(std::move(accepted));
    }
  }

  void Serve(Peer& peer) {
    const absl::Status read = peer.connection.Read();
    while (!peer.gone) {
      const absl::StatusOr<std::optional<Frame>> frame = peer.connection.Next();
      if (!frame.ok()) {
        Lose(peer);
        return;
      }
      if (!frame->has_value()) break;
      Handle(peer, **frame);
    }
    if (!read.ok()) Lose(peer);
  }

  // A connection that nobody said hello on is a stranger's.
  void Lose(Peer& peer) {
    if (peer.gone) return;
    peer.gone = true;
    if (!peer.rank.has_value()) return;
    const RankView& view = ranks_[static_cast<size_t>(*peer.rank)].view;
    if (view.left) return;
    Abort(absl::UnavailableError(absl::StrCat("rank ", *peer.rank,
                                              ": its process ended, or its host is gone; ",
                                              LastCallOf(view.activity))));
  }

  // Of one that came its own connection tells.
  void LoseBeforeItCame(int64_t rank) {
    if (rank < 0 || rank >= options_.world_size || ranks_[static_cast<size_t>(rank)].view.came) {
      return;
    }
    Abort(absl::UnavailableError(absl::StrCat("rank ", rank, ": its process ended at its start")));
  }

  void Handle(Peer& peer, const Frame& frame) {
    if (peer.refused) return;
    if (frame.kind == FrameKind::kLost) {
      LoseBeforeItCame(frame.number);
      return;
    }
    if (!peer.rank.has_value()) {
      Welcome(peer, frame);
      return;
    }
    RankState& rank = ranks_[static_cast<size_t>(*peer.rank)];
    rank.last_sign = clock_.Now();
    switch (frame.kind) {
      case FrameKind::kPut:
        if (frame.texts.size() == 2) Put(frame.texts[0], frame.texts[1]);
        return;
      case FrameKind::kGet:
        if (frame.texts.size() == 1) Get(peer, frame.number, frame.texts[0]);
        return;
      case FrameKind::kActivity:
        if (frame.texts.size() != 1) return;
        if (absl::StatusOr<RankActivity> activity = DecodeActivity(frame.texts[0]); activity.ok()) {
          if (activity->progress != rank.view.activity.progress) rank.last_progress = clock_.Now();
          rank.view.activity = *std::move(activity);
        }
        return;
      case FrameKind::kAbort:
        Abort(DecodeStatus(frame.texts));
        return;
      case FrameKind::kLeave:
        rank.view.left = true;
        return;
      default:
        return;
    }
  }

  void Welcome(Peer& peer, const Frame& frame) {
    int64_t size = 0;
    if (frame.kind != FrameKind::kHello || frame.texts.size() != 1 ||
        !absl::SimpleAtoi(frame.texts[0], &size)) {
      peer.gone = true;
      return;
    }
    const int64_t rank = frame.number;
    absl::Status wrong;
    if (size != options_.world_size) {
      wrong = absl::InvalidArgumentError(absl::StrCat("rank ", rank, " was started as one of ",
                                                      size, " ranks, rank 0 as one of ",
                                                      options_.world_size));
    } else if (rank < 0 || rank >= size || ranks_[static_cast<size_t>(rank)].view.came) {
      wrong = absl::InvalidArgumentError(
          absl::StrCat("two processes were started as rank ", rank, " of ", size));
    }
    if (!wrong.ok()) {
      peer.refused = true;
      Abort(wrong);
      peer.connection.Send({.kind = FrameKind::kAbort, .texts = EncodeStatus(wrong)});
      return;
    }
    peer.rank = rank;
    RankState& state = ranks_[static_cast<size_t>(rank)];
    state.view.came = true;
    state.last_sign = state.last_progress = clock_.Now();
    if (cause_.ok()) {
      peer.connection.Send({.kind = FrameKind::kWelcome});
    } else {
      peer.connection.Send({.kind = FrameKind::kAbort, .texts = EncodeStatus(cause_)});
    }
  }

  void Put(const std::string& key, const std::string& value) {
    values_[key] = value;
    const auto [first, last] = questions_.equal_range(key);
    for (auto question = first; question != last; ++question) {
      for (Peer& peer : peers_) {
        if (peer.rank == question->second.first) Answer(peer, question->second.second, value);
      }
    }
    questions_.erase(first, last);
  }

  void Get(Peer& peer, int64_t number, const std::string& key) {
    if (key == kClockKey) {
      Answer(peer, number, absl::StrCat(absl::GetCurrentTimeNanos()));
    } else if (const auto value = values_.find(key); value != values_.end()) {
      Answer(peer, number, value->second);
    } else {
      questions_.insert({key, {*peer.rank, number}});
    }
  }

  static void Answer(Peer& peer, int64_t number, const std::string& value) {
    peer.connection.Send({.kind = FrameKind::kValue, .number = number, .texts = {value}});
  }

  void Abort(const absl::Status& cause) {
    if (!cause_.ok()) return;
    cause_ = cause;
    for (Peer& peer : peers_) {
      if (!peer.rank.has_value()) continue;
      peer.connection.Send({.kind = FrameKind::kAbort, .texts = EncodeStatus(cause)});
    }
  }

  void Look(absl::Duration now) {
    std::vector<RankView> views;
    for (RankState& rank : ranks_) {
      rank.view.silent = now - rank.last_sign;
      rank.view.stalled = now - rank.last_progress;
      views.push_back(rank.view);
    }
    const std::optional<absl::Status> verdict = Judge(views, now,
                                                      {.silence = options_.timeout,
                                                       .stall = options_.timeout,
                                                       .arrival = options_.arrival_timeout});
    if (verdict.has_value()) Abort(*verdict);
  }

  const RendezvousServerOptions options_;
  const Socket listening_;
  const int port_;
  AwakeClock clock_;
  WakePipe wake_;
  std::atomic<bool> closing_ = false;
  std::thread thread_;
  // Of the thread alone.
  std::optional<absl::Duration> closing_since_;
  std::list<Peer> peers_;
  std::vector<RankState> ranks_;
  std::map<std::string, std::string> values_;
  std::multimap<std::string, std::pair<int64_t, int64_t>> questions_;  // key -> rank, number
  absl::Status cause_;
};

}  // namespace internal

RendezvousServer::RendezvousServer(std::unique_ptr<internal::ServerLoop> loop)
    : loop_(std::move(loop)) {}
RendezvousServer::~RendezvousServer() = default;

int RendezvousServer::port() const { return loop_->port(); }

absl::StatusOr<std::unique_ptr<RendezvousServer>> RendezvousServer::Start(
    const RendezvousServerOptions& options) {
  internal::Socket listening(options.listening);
  if (options.listening < 0) {
    HETERO_ASSIGN_OR_RETURN(listening, internal::Listen(options.host, options.port));
  }
  HETERO_ASSIGN_OR_RETURN(const int port, internal::PortOf(listening));
  auto loop = std::make_unique<internal::ServerLoop>(options, std::move(listening), port);
  HETERO_RETURN_IF_ERROR(loop->Start());
  return std::unique_ptr<RendezvousServer>(new RendezvousServer(std::move(loop)));
}

}  // namespace hetero
