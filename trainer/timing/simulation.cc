#include "hetero/trainer/timing/simulation.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Below the time of any operation, above the rounding of sums of them.
constexpr double kEpsilon = 1e-12;

class Simulation {
 public:
  Simulation(std::span<const TimedRanks> ranks, std::span<const LinkEnds> channels,
             const SimulationOptions& options)
      : ranks_(ranks), options_(options), links_(channels.size()), walks_(ranks.size()) {
    for (size_t c = 0; c < channels.size(); ++c) {
      for (size_t r = 0; r < ranks.size(); ++r) {
        links_[c].num_senders += Holds(ranks[r], channels[c].source) ? 1 : 0;
        links_[c].num_receivers += Holds(ranks[r], channels[c].destination) ? 1 : 0;
      }
    }
    for (size_t r = 0; r < ranks.size(); ++r) {
      walks_[r].time.waits.resize(channels.size());
      walks_[r].sent.resize(channels.size());
      walks_[r].received.resize(channels.size());
      walks_[r].wait_sent.resize(channels.size());
      walks_[r].wait_received.resize(channels.size());
      ++num_of_program_[ranks[r].program];
    }
  }

  absl::StatusOr<StepTime> Run() {
    while (true) {
      for (bool moved = true; moved;) {
        moved = false;
        for (size_t r = 0; r < walks_.size(); ++r) {
          while (GoOn(r)) moved = true;
        }
      }
      if (std::ranges::all_of(walks_, [&](const Walk& walk) { return Ended(walk); })) break;
      if (!Pass()) {
        return absl::FailedPreconditionError("the programs of the step do not come to their end");
      }
    }
    double begin = 0;
    double end = 0;
    StepTime step;
    for (const Walk& walk : walks_) {
      begin = std::max(begin, walk.last_begins);
      end = std::max(end, walk.ends);
      RanksTime time = walk.time;
      for (const double wait : time.waits) time.transferring += wait;
      step.ranks.push_back(std::move(time));
    }
    step.seconds = end - begin;
    return step;
  }

 private:
  enum class Phase : uint8_t { kBegins, kWorks, kJoins, kTalks };

  struct Walk {
    int step = 0;
    size_t place = 0;
    Phase phase = Phase::kBegins;
    double remaining = 0;        // of kWorks and kTalks
    bool waits = false;          // in kBegins, for a transfer
    double ready = kNever;       // when what is waited for lets it go on, if that is known
    int64_t world_meetings = 0;  // in this step
    double last_begins = 0;
    double ends = 0;
    RanksTime time;  // of the last step
    // Transfers so far, by channel.
    std::vector<int64_t> sent, received, wait_sent, wait_received;
  };

  struct Link {
    int num_senders = 0;
    int num_receivers = 0;
    struct Transfer {
      int posts = 0;
      double posted = 0;   // by the last
      double seconds = 0;  // on the link
    };
    std::vector<Transfer> transfers;
    std::vector<double> complete;  // times, of transfers from the first
  };

  struct Meeting {
    int come = 0;
    double seconds = 0;  // when the last has come
  };

  static bool Holds(const TimedRanks& ranks, int stage) {
    return std::ranges::find(ranks.stages, stage) != ranks.stages.end();
  }
  bool Ended(const Walk& walk) const { return walk.step == options_.num_steps; }
  const TimedOp& OpOf(size_t r) const { return ranks_[r].ops[walks_[r].place]; }
  bool Counts(const Walk& walk) const { return walk.step + 1 == options_.num_steps; }

  // One change that takes no time; false when `r` works, waits or has ended.
  bool GoOn(size_t r) {
    Walk& walk = walks_[r];
    if (Ended(walk)) return false;
    if (walk.place == ranks_[r].ops.size()) {
      ++walk.step;
      walk.place = 0;
      walk.world_meetings = 0;
      if (Counts(walk)) walk.last_begins = now_;
      if (Ended(walk)) walk.ends = now_;
      return true;
    }
    const TimedOp& timed = OpOf(r);
    switch (walk.phase) {
      case Phase::kBegins:
        if (IsWait(timed.op.kind) && !Arrived(timed.op, walk)) return false;
        walk.waits = false;
        walk.remaining = timed.work_seconds;
        walk.phase = Phase::kWorks;
        return true;
      case Phase::kWorks:
        if (walk.remaining > kEpsilon) return false;
        if (IsPost(timed.op.kind)) Post(timed, walk);
        if (timed.joins == Joins::kNobody) {
          Next(walk);
          return true;
        }
        ++MeetingOf(r).come;
        MeetingOf(r).seconds = now_;
        walk.phase = Phase::kJoins;
        return true;
      case Phase::kJoins: {
        const Meeting& meeting = MeetingOf(r);
        const bool all_have_come = meeting.come == Expected(r);
        walk.ready = all_have_come ? meeting.seconds + static_cast<double>(timed.num_joins) *
                                                           options_.wake_seconds
                                   : kNever;
        if (walk.ready > now_ + kEpsilon) return false;
        if (timed.joins == Joins::kWorld) ++walk.world_meetings;
        walk.remaining = timed.traffic_seconds;
        walk.phase = Phase::kTalks;
        return true;
      }
      case Phase::kTalks:
        if (walk.remaining > kEpsilon) return false;
        Next(walk);
        return true;
    }
    return false;
  }

  static void Next(Walk& walk) {
    ++walk.place;
    walk.phase = Phase::kBegins;
    walk.ready = kNever;
  }

  void Post(const TimedOp& timed, Walk& walk) {
    const bool sends = timed.op.kind == OpKind::kPostSend;
    const int c = timed.op.channel;
    Link& link = links_[c];
    const auto k = static_cast<size_t>((sends ? walk.sent : walk.received)[c]++);
    if (link.transfers.size() <= k) link.transfers.resize(k + 1);
    Link::Transfer& transfer = link.transfers[k];
    ++transfer.posts;
    transfer.posted = now_;
    if (sends) transfer.seconds = std::max(transfer.seconds, timed.traffic_seconds);
    while (link.complete.size() < link.transfers.size()) {
      const Link::Transfer& next = link.transfers[link.complete.size()];
      if (next.posts < link.num_senders + link.num_receivers) break;
      const double free = link.complete.empty() ? 0 : link.complete.back();
      link.complete.push_back(std::max(next.posted, free) + next.seconds);
    }
  }

  // Who finds a transfer complete goes on at once, who had to wait for it is woken.
  bool Arrived(const Op& op, Walk& walk) {
    const bool receives = op.kind == OpKind::kWaitReceive;
    int64_t& waited = (receives ? walk.wait_received : walk.wait_sent)[op.channel];
    const std::vector<double>& complete = links_[op.channel].complete;
    const bool is_known = static_cast<size_t>(waited) < complete.size();
    const double time = is_known ? complete[static_cast<size_t>(waited)] : kNever;
    if (!walk.waits && time > now_ + kEpsilon) walk.waits = true;
    walk.ready = walk.waits ? time + options_.wake_seconds : time;
    if (walk.ready > now_ + kEpsilon) return false;
    ++waited;
    return true;
  }

  // Of the operation that `r` is at.
  Meeting& MeetingOf(size_t r) {
    const Walk& walk = walks_[r];
    if (OpOf(r).joins == Joins::kWorld) return meetings_[{-1, walk.step, walk.world_meetings}];
    return meetings_[{ranks_[r].program, walk.step, static_cast<int64_t>(walk.place)}];
  }

  int Expected(size_t r) const {
    if (OpOf(r).joins == Joins::kWorld) return static_cast<int>(ranks_.size());
    return num_of_program_.at(ranks_[r].program);
  }

  // Lets time pass until the next change. False when there is none: nobody will ever go on.
  bool Pass() {
    double working = 0;  // ranks
    for (size_t r = 0; r < walks_.size(); ++r) {
      if (Works(walks_[r])) working += static_cast<double>(ranks_[r].num_ranks);
    }
    const double speed =
        options_.cores > 0 && working > options_.cores ? options_.cores / working : 1;
    double next = kNever;
    for (const Walk& walk : walks_) {
      if (Ended(walk)) continue;
      next = std::min(next, Works(walk) ? walk.remaining / speed : walk.ready - now_);
    }
    if (next == kNever) return false;
    next = std::max(next, 0.0);
    for (size_t r = 0; r < walks_.size(); ++r) {
      Walk& walk = walks_[r];
      if (Ended(walk)) continue;
      if (Works(walk)) walk.remaining -= next * speed;
      if (Counts(walk)) Account(OpOf(r).op, walk) += next;
    }
    now_ += next;
    return true;
  }

  static bool Works(const Walk& walk) {
    return (walk.phase == Phase::kWorks || walk.phase == Phase::kTalks) &&
           walk.remaining > kEpsilon;
  }

  static double& Account(const Op& op, Walk& walk) {
    switch (walk.phase) {
      case Phase::kBegins:
        return walk.time.waits[op.channel];
      case Phase::kWorks:
        return walk.time.working;
      case Phase::kJoins:
        return walk.time.joining;
      case Phase::kTalks:
        break;
    }
    return walk.time.traffic;
  }

  std::span<const TimedRanks> ranks_;
  const SimulationOptions options_;
  double now_ = 0;
  std::vector<Link> links_;  // by channel
  std::vector<Walk> walks_;  // parallel to ranks_
  absl::flat_hash_map<int, int> num_of_program_;
  absl::flat_hash_map<std::tuple<int, int, int64_t>, Meeting> meetings_;
};

}  // namespace

absl::StatusOr<StepTime> Simulate(std::span<const TimedRanks> ranks,
                                  std::span<const LinkEnds> channels,
                                  const SimulationOptions& options) {
  return Simulation(ranks, channels, options).Run();
}

}  // namespace hetero
