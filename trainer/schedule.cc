#include "hetero/trainer/schedule.h"

#include <algorithm>
#include <array>
#include <set>
#include <tuple>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
std::string ToString(const ScheduleStep& step) {
  constexpr std::string_view kNames[] = {"rf", "F", "sf", "rb", "B", "sb"};
  return absl::StrCat(kNames[static_cast<int>(step.kind)], step.microbatch);
}

std::vector<ScheduleStep> MakeSchedule(const ScheduleShape& shape) {
  const int m = shape.num_microbatches;
  CHECK_GE(m, 1);
  CHECK_GE(shape.warmup, 0);
  const bool returns = shape.has_upstream && shape.returns;
  std::vector<ScheduleStep> steps;
  const auto add = [&](StepKind kind, int microbatch) { steps.push_back({kind, microbatch}); };
  const auto receive_forward = [&](int i) {
    if (shape.has_upstream) add(StepKind::kReceiveForward, i);
  };
  const auto send_forward = [&](int i) {
    if (shape.has_downstream) add(StepKind::kSendForward, i);
  };
  const auto receive_backward = [&](int i) {
    if (shape.has_downstream) add(StepKind::kReceiveBackward, i);
  };
  const auto send_backward = [&](int i) {
    if (returns) add(StepKind::kSendBackward, i);
  };

  if (shape.forward_only) {
    for (int i = 0; i < m; ++i) {
      receive_forward(i);
      add(StepKind::kForward, i);
      send_forward(i);
    }
    return steps;
  }

  const int warmup = std::min(shape.warmup, m);
  const int remaining = m - warmup;
  for (int i = 0; i < warmup; ++i) {
    receive_forward(i);
    add(StepKind::kForward, i);
    send_forward(i);
  }
  if (remaining > 0) receive_forward(warmup);
  for (int k = 0; k < remaining; ++k) {
    add(StepKind::kForward, warmup + k);
    send_forward(warmup + k);
    if (shape.has_downstream) steps.back().with_next = true;
    receive_backward(k);
    add(StepKind::kBackward, k);
    send_backward(k);
    if (k + 1 < remaining) {
      if (returns) steps.back().with_next = true;
      receive_forward(warmup + k + 1);
    }
  }
  for (int j = remaining; j < m; ++j) {
    receive_backward(j);
    add(StepKind::kBackward, j);
    send_backward(j);
  }
  return steps;
}

std::string ToString(std::span<const ScheduleStep> steps) {
  std::string text;
  bool open = false;
  for (const ScheduleStep& step : steps) {
    if (open) {
      absl::StrAppend(&text, "+", ToString(step), "]");
    } else {
      absl::StrAppend(&text, text.empty() ? "" : " ", step.with_next ? "[" : "", ToString(step));
    }
    open = step.with_next;
  }
  return text;
}

int PeakInFlight(std::span<const ScheduleStep> steps) {
  int live = 0;
  int peak = 0;
  for (const ScheduleStep& step : steps) {
    if (step.kind == StepKind::kForward) peak = std::max(peak, ++live);
    if (step.kind == StepKind::kBackward) --live;
  }
  return peak;
}

absl::StatusOr<std::vector<int>> MakeWarmups(std::span<const StageNode> stages) {
  const int count = static_cast<int>(stages.size());
  std::vector<int> warmups(stages.size(), 0);
  // Longest distance to a sink, by relaxation; an acyclic graph settles in `count` rounds.
  for (int round = 0; round <= count; ++round) {
    bool changed = false;
    for (int u = 0; u < count; ++u) {
      for (int v : stages[u].consumers) {
        if (warmups[u] < warmups[v] + 1) {
          warmups[u] = warmups[v] + 1;
          changed = true;
        }
      }
    }
    if (!changed) break;
    if (round == count) return absl::InvalidArgumentError("the stage graph has a cycle");
  }
  // A consumer on a shallower branch waits as long as its producer's deepest one.
  for (int round = 0; round <= count; ++round) {
    bool changed = false;
    for (int u = 0; u < count; ++u) {
      for (int v : stages[u].consumers) {
        if (warmups[v] < warmups[u] - 1) {
          warmups[v] = warmups[u] - 1;
          changed = true;
        } else if (warmups[u] < warmups[v] + 1) {
          warmups[u] = warmups[v] + 1;
          changed = true;
        }
      }
    }
    if (!changed) return warmups;
  }
  for (const StageNode& stage : stages) {
    if (stage.consumers.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat(
          "stage ", stage.name,
          " reaches one stage over paths of unequal length: no warm-up makes "
          "every edge advance by one; give the short path a stage or drop the skipping edge"));
    }
  }
  return absl::InvalidArgumentError("no warm-up makes every edge advance by one");
}

absl::Status CheckDeadlockFree(std::span<const StageNode> stages,
                               std::span<const std::vector<ScheduleStep>> programs,
                               TransferModel model) {
  const size_t count = stages.size();
  CHECK_EQ(programs.size(), count);
  std::vector<std::vector<int>> producers(count);
  for (size_t u = 0; u < count; ++u) {
    for (int v : stages[u].consumers) producers[v].push_back(static_cast<int>(u));
  }
  // What crosses an edge (u, v) at once: the microbatch going down and the one coming up, -1 for
  // none. A combined step is one event under synchronous transfers and two otherwise.
  using Event = std::tuple<int, int, int, int>;
  std::array<std::set<Event>, 2> posted;  // by u, by v
  const auto events_of = [&](int stage, std::span<const ScheduleStep> group) {
    std::vector<std::pair<Event, bool>> events;  // and whether this end waits for it
    const auto add_edge = [&](int u, int v, StepKind down_kind, StepKind up_kind) {
      Event joint = {u, v, -1, -1};
      for (const ScheduleStep& step : group) {
        if (step.kind != down_kind && step.kind != up_kind) continue;
        const bool down = step.kind == down_kind;
        if (!down && !stages[u].runs_backward) continue;
        if (model == TransferModel::kSynchronous) {
          (down ? std::get<2>(joint) : std::get<3>(joint)) = step.microbatch;
        } else {
          const bool sends = (stage == u) == down;
          events.push_back(
              {{u, v, down ? step.microbatch : -1, down ? -1 : step.microbatch}, !sends});
        }
      }
      if (joint != Event{u, v, -1, -1}) events.push_back({joint, true});
    };
    for (int v : stages[stage].consumers) {
      add_edge(stage, v, StepKind::kSendForward, StepKind::kReceiveBackward);
    }
    for (int u : producers[stage]) {
      add_edge(u, stage, StepKind::kReceiveForward, StepKind::kSendBackward);
    }
    return events;
  };

  // A stage stands at a group of one or two steps posted together.
  std::vector<size_t> at(count, 0);
  const auto group_at = [&](size_t stage) {
    size_t end = at[stage] + 1;
    while (programs[stage][end - 1].with_next) ++end;
    return std::span(programs[stage]).subspan(at[stage], end - at[stage]);
  };
  const auto post = [&](size_t s) {
    if (at[s] == programs[s].size()) return;
    const int stage = static_cast<int>(s);
    for (const auto& [event, waits] : events_of(stage, group_at(s))) {
      posted[std::get<0>(event) == stage ? 0 : 1].insert(event);
    }
  };
  const auto can_leave = [&](size_t s) {
    const int stage = static_cast<int>(s);
    for (const auto& [event, waits] : events_of(stage, group_at(s))) {
      if (waits && !posted[std::get<0>(event) == stage ? 1 : 0].contains(event)) return false;
    }
    return true;
  };
  for (size_t s = 0; s < count; ++s) post(s);
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t s = 0; s < count; ++s) {
      while (at[s] < programs[s].size() && can_leave(s)) {
        at[s] += group_at(s).size();
        post(s);
        moved = true;
      }
    }
  }
  std::vector<std::string> stuck;
  for (size_t s = 0; s < count; ++s) {
    if (at[s] == programs[s].size()) continue;
    stuck.push_back(absl::StrCat(stages[s].name, " waits at ", ToString(group_at(s))));
  }
  if (stuck.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the step's plan cannot finish: ", absl::StrJoin(stuck, "; ")));
}

}  // namespace hetero
