#include "hetero/trainer/step/checker.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

namespace hetero {
namespace {

// Why a program stands still: the operation it waits for, and the program that has yet to do its
// part.
struct Blocked {
  Op op;
  int by = 0;
};

// Runs all programs against each other until none can go on.
class Simulation {
 public:
  Simulation(std::span<const CheckedProgram> programs, std::span<const ChannelEnds> channels)
      : programs_(programs), channels_(channels), at_(programs.size(), 0) {}
  virtual ~Simulation() = default;

  absl::Status Run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (int p = 0; p < std::ssize(programs_); ++p) {
        while (!Ended(p) && !Advance(p).has_value()) moved = true;
      }
    }
    for (int p = 0; p < std::ssize(programs_); ++p) {
      if (!Ended(p)) return Explain();
    }
    return absl::OkStatus();
  }

 protected:
  bool Ended(int p) const { return at_[p] == programs_[p].ops.size(); }
  std::span<const Op> Rest(int p) const { return programs_[p].ops.subspan(at_[p]); }
  bool Holds(int p, int stage) const {
    return std::ranges::find(programs_[p].stages, stage) != programs_[p].stages.end();
  }

  // Takes the next step of program `p`, or says why it cannot.
  virtual std::optional<Blocked> Advance(int p) = 0;

  std::span<const CheckedProgram> programs_;
  std::span<const ChannelEnds> channels_;
  std::vector<size_t> at_;

 private:
  // "waits for bridge.forward.0[mb 3] from vision.0"
  std::string Waits(const Blocked& blocked) const {
    const bool receives =
        blocked.op.kind == OpKind::kWaitReceive || blocked.op.kind == OpKind::kPostReceive;
    return absl::StrCat("waits for ", channels_[blocked.op.channel].name, "[mb ",
                        blocked.op.microbatch, "] ", receives ? "from " : "to be taken by ",
                        programs_[blocked.by].name);
  }

  absl::Status Explain() {
    std::vector<std::optional<Blocked>> blocked;
    for (int p = 0; p < std::ssize(programs_); ++p) {
      blocked.push_back(Ended(p) ? std::nullopt : Advance(p));
    }
    // Every program waits for one other: following them leads to a cycle or to an end.
    std::vector<int> shortest;
    bool cycle = false;
    for (int start = 0; start < std::ssize(programs_); ++start) {
      if (!blocked[start].has_value()) continue;
      std::vector<int> path = {start};
      while (true) {
        const int next = blocked[path.back()]->by;
        const auto seen = std::ranges::find(path, next);
        if (seen != path.end()) {
          path.erase(path.begin(), seen);
          if (!cycle || path.size() < shortest.size()) shortest = path;
          cycle = true;
          break;
        }
        if (!blocked[next].has_value()) {
          if (!cycle && (shortest.empty() || path.size() < shortest.size())) shortest = path;
          break;
        }
        path.push_back(next);
      }
    }
    const int first = shortest.front();
    if (blocked[first]->by == first) {
      return absl::FailedPreconditionError(
          absl::StrCat("the step's programs cannot end: ", programs_[first].name, " waits for ",
                       channels_[blocked[first]->op.channel].name, "[mb ",
                       blocked[first]->op.microbatch, "], which it has not posted"));
    }
    std::string text =
        absl::StrCat("the step's programs cannot end: ", programs_[shortest.front()].name, " ");
    for (size_t i = 0; i < shortest.size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "" : ", which ", Waits(*blocked[shortest[i]]));
    }
    absl::StrAppend(&text, cycle ? ", which closes the cycle" : ", whose program has ended");
    return absl::FailedPreconditionError(text);
  }
};

// Transfers of a channel complete in order, once both ends have posted them.
class ChannelSimulation : public Simulation {
 public:
  ChannelSimulation(std::span<const CheckedProgram> programs, std::span<const ChannelEnds> channels)
      : Simulation(programs, channels) {
    for (const ChannelEnds& ends : channels) {
      Channel& channel = channels_posted_.emplace_back();
      for (int p = 0; p < std::ssize(programs); ++p) {
        if (Holds(p, ends.source)) channel.ends.push_back({p, OpKind::kPostSend, {}});
        if (Holds(p, ends.destination)) channel.ends.push_back({p, OpKind::kPostReceive, {}});
      }
    }
  }

 private:
  // What a program has posted at one end of a channel: microbatches, in order.
  struct Posts {
    int program;
    OpKind kind;
    std::vector<int> microbatches;
  };
  struct Channel {
    std::vector<Posts> ends;
    size_t num_complete = 0;  // of its transfers, from the first
  };

  std::optional<Blocked> Advance(int p) override {
    const Op& op = Rest(p).front();
    if (IsPost(op.kind)) {
      Channel& channel = channels_posted_[op.channel];
      PostsOf(channel, p, op.kind).microbatches.push_back(op.microbatch);
      while (!Missing(channel).has_value()) ++channel.num_complete;
    } else if (IsWait(op.kind)) {
      if (const std::optional<int> by = WaitsFor(p, op)) return Blocked{op, *by};
    }
    ++at_[p];
    return std::nullopt;
  }

  static Posts& PostsOf(Channel& channel, int p, OpKind kind) {
    return *std::ranges::find_if(
        channel.ends, [&](const Posts& posts) { return posts.program == p && posts.kind == kind; });
  }

  // The first program that has not posted the transfer after the complete ones, or another
  // microbatch than the channel's first end.
  static std::optional<int> Missing(const Channel& channel) {
    const size_t k = channel.num_complete;
    for (const Posts& end : channel.ends) {
      const std::vector<int>& first = channel.ends.front().microbatches;
      if (end.microbatches.size() <= k) return end.program;
      if (end.microbatches[k] != first[k]) return end.program;
    }
    return std::nullopt;
  }

  std::optional<int> WaitsFor(int p, const Op& op) {
    Channel& channel = channels_posted_[op.channel];
    const OpKind post = op.kind == OpKind::kWaitSend ? OpKind::kPostSend : OpKind::kPostReceive;
    const std::vector<int>& own = PostsOf(channel, p, post).microbatches;
    const auto from_last = std::find(own.rbegin(), own.rend(), op.microbatch);
    if (from_last == own.rend()) return p;
    if (static_cast<size_t>(own.rend() - from_last) <= channel.num_complete) return std::nullopt;
    // Not itself, where it and another differ.
    const std::optional<int> missing = Missing(channel);
    if (missing != p) return missing;
    for (const Posts& end : channel.ends) {
      if (end.program != p) return end.program;
    }
    return p;
  }

  std::vector<Channel> channels_posted_;
};

// What a program posts before it waits is one event with each neighbour, which must post the same.
class SynchronousSimulation : public Simulation {
 public:
  using Simulation::Simulation;

 private:
  // Microbatches that cross an edge together, down and up; -1: none.
  struct Event {
    int down = -1;
    int up = -1;
    auto operator<=>(const Event&) const = default;
  };

  std::optional<Blocked> Advance(int p) override {
    const std::span<const Op> rest = Rest(p);
    if (!IsTransfer(rest.front().kind)) {
      ++at_[p];
      return std::nullopt;
    }
    size_t end = 0;
    while (end < rest.size() && IsPost(rest[end].kind)) ++end;
    const std::span<const Op> posts = rest.first(end);
    while (end < rest.size() && IsWait(rest[end].kind)) ++end;
    std::map<int, Event> events;  // by edge
    for (const Op& op : posts) {
      Event& event = events[EdgeOf(op.channel)];
      (IsForward(op.channel) ? event.down : event.up) = op.microbatch;
    }
    for (const auto& [edge, event] : events) Add(p, edge, event);
    for (const Op& op : posts) {
      const int edge = EdgeOf(op.channel);
      const ChannelEnds& ends = channels_[op.channel];
      const int other = op.kind == OpKind::kPostSend ? ends.destination : ends.source;
      for (int q = 0; q < std::ssize(programs_); ++q) {
        if (!Holds(q, other)) continue;
        const std::vector<Event>& posted = posted_[{q, edge}];
        if (std::ranges::find(posted, events[edge]) == posted.end()) return Blocked{op, q};
      }
    }
    at_[p] += end;
    return std::nullopt;
  }

  void Add(int p, int edge, Event event) {
    std::vector<Event>& posted = posted_[{p, edge}];
    if (std::ranges::find(posted, event) == posted.end()) posted.push_back(event);
  }

  std::map<std::pair<int, int>, std::vector<Event>> posted_;  // by program and edge
};

}  // namespace

absl::Status CheckProgress(std::span<const CheckedProgram> programs,
                           std::span<const ChannelEnds> channels, TransferModel model) {
  if (model == TransferModel::kSynchronous) return SynchronousSimulation(programs, channels).Run();
  return ChannelSimulation(programs, channels).Run();
}

}  // namespace hetero
