#include "hetero/comm/rendezvous/judge.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {
namespace {

// A line for each of a thousand ranks helps nobody.
constexpr size_t kMaxNamed = 8;

bool IsInCall(const RankView& rank) { return rank.came && !rank.left && rank.activity.in_call; }
bool IsWaiting(const RankView& rank) {
  return IsInCall(rank) && !(rank.activity.waits_for.empty() && rank.activity.needs.empty());
}

// Whether `peer` has issued what `caller` needs of it; what it has not told it has not done.
bool HasIssued(const RankActivity& peer, const RankActivity& caller, GlobalRank caller_rank,
               const CallNeed& need) {
  const auto issued =
      std::ranges::find(peer.issued, caller.communicator, &IssuedCalls::communicator);
  if (issued == peer.issued.end()) return false;
  if (need.num_collectives > 0) return issued->num_collectives >= need.num_collectives;
  const auto counts = std::ranges::find(issued->messages, caller_rank, &MessageCounts::peer);
  return counts != issued->messages.end() && counts->num_sends >= need.num_sends &&
         counts->num_receives >= need.num_receives;
}

// Whom each rank waits for, ascending.
std::vector<std::vector<size_t>> FindPeers(std::span<const RankView> ranks) {
  std::vector<std::vector<size_t>> peers(ranks.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!IsWaiting(ranks[i])) continue;
    const RankActivity& activity = ranks[i].activity;
    const auto add = [&](GlobalRank peer) {
      const size_t p = static_cast<size_t>(peer.value());
      if (p < ranks.size()) peers[i].push_back(p);
    };
    for (const GlobalRank peer : activity.waits_for) add(peer);
    for (const CallNeed& need : activity.needs) {
      const size_t p = static_cast<size_t>(need.peer.value());
      const auto self = GlobalRank(static_cast<int64_t>(i));
      if (p < ranks.size() && !HasIssued(ranks[p].activity, activity, self, need)) add(need.peer);
    }
    std::ranges::sort(peers[i]);
    peers[i].erase(std::ranges::unique(peers[i]).begin(), peers[i].end());
  }
  return peers;
}

std::string List(const std::vector<std::string>& items, std::string_view separator) {
  const size_t shown = std::min(items.size(), kMaxNamed);
  std::string text =
      absl::StrJoin(items.begin(), items.begin() + static_cast<long>(shown), separator);
  if (shown < items.size()) absl::StrAppend(&text, " and ", items.size() - shown, " more");
  return text;
}

std::string RankList(std::span<const size_t> ranks) {
  std::vector<std::string> names;
  for (const size_t rank : ranks) names.push_back(absl::StrCat("rank ", rank));
  return List(names, ", ");
}

absl::Status Late(std::span<const RankView> ranks, absl::Duration limit) {
  std::vector<size_t> missing;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!ranks[i].came) missing.push_back(i);
  }
  return absl::DeadlineExceededError(absl::StrCat(RankList(missing), " of ", ranks.size(),
                                                  " did not come within ",
                                                  absl::FormatDuration(limit)));
}

// Two ranks whose calls have one number in one communicator and are not the same.
absl::Status FindDifference(std::span<const RankView> ranks) {
  std::map<std::pair<std::string_view, int64_t>, size_t> calls;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const RankActivity& activity = ranks[i].activity;
    if (!IsInCall(ranks[i]) || activity.collective == 0) continue;
    const auto [first, is_first] = calls.insert({{activity.communicator, activity.collective}, i});
    const std::string& other = ranks[first->second].activity.call;
    if (is_first || other == activity.call) continue;
    return absl::InvalidArgumentError(absl::StrCat("members called different things: rank ",
                                                   first->second, " ", other, ", rank ", i, " ",
                                                   activity.call));
  }
  return absl::OkStatus();
}

}  // namespace

std::string LastCallOf(const RankActivity& activity) {
  if (activity.call.empty()) return "it has called nothing yet";
  return absl::StrCat(activity.in_call ? "it is in " : "it left ", activity.call);
}

absl::Status ExplainStall(std::span<const RankView> ranks, absl::Duration limit) {
  if (const absl::Status difference = FindDifference(ranks); !difference.ok()) return difference;
  const std::vector<std::vector<size_t>> peers = FindPeers(ranks);
  std::vector<size_t> lagging;
  std::vector<std::string> waiting;
  std::vector<std::string> running;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!IsWaiting(ranks[i])) continue;
    const std::string& call = ranks[i].activity.call;
    if (peers[i].empty()) {
      running.push_back(absl::StrCat("rank ", i, " in ", call));
      continue;
    }
    waiting.push_back(absl::StrCat("rank ", i, " waits in ", call, " for ", RankList(peers[i])));
    for (const size_t peer : peers[i]) {
      if (!IsWaiting(ranks[peer]) && !std::ranges::count(lagging, peer)) lagging.push_back(peer);
    }
  }
  const std::string so_long = limit > absl::ZeroDuration()
                                  ? absl::StrCat("for ", absl::FormatDuration(limit))
                                  : "at the end";
  if (!lagging.empty()) {
    std::ranges::sort(lagging);
    std::vector<std::string> lags;
    for (const size_t rank : lagging) {
      const RankView& view = ranks[rank];
      lags.push_back(absl::StrCat("rank ", rank, view.left ? " has ended its run; " : " lags: ",
                                  LastCallOf(view.activity)));
    }
    return absl::DeadlineExceededError(
        absl::StrCat(List(lags, "; "), "; ", so_long, " ", List(waiting, "; ")));
  }
  if (!running.empty()) {
    return absl::DeadlineExceededError(absl::StrCat(
        "every member has issued its call, and it does not end on the GPUs, ", so_long, ": ",
        List(running, "; "), waiting.empty() ? "" : "; because of it ", List(waiting, "; ")));
  }
  if (waiting.empty()) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(
      "no rank got on ", so_long, ", they wait for each other: ", List(waiting, "; ")));
}

std::optional<absl::Status> Judge(std::span<const RankView> ranks, absl::Duration since_start,
                                  const JudgeLimits& limits) {
  const bool all_came = std::ranges::all_of(ranks, &RankView::came);
  const RankView* silent = nullptr;
  for (const RankView& rank : ranks) {
    if (!rank.came || rank.left || rank.silent <= limits.silence) continue;
    if (silent == nullptr || rank.silent > silent->silent) silent = &rank;
  }
  if (silent != nullptr) {
    return absl::UnavailableError(absl::StrCat(
        "rank ", silent - ranks.data(), ": no sign of life for ",
        absl::FormatDuration(limits.silence),
        ": its process is stopped or its host cannot be reached; ", LastCallOf(silent->activity)));
  }
  if (!all_came) {
    if (since_start > limits.arrival) return Late(ranks, limits.arrival);
    return std::nullopt;
  }
  const auto gets_on = [&](const RankView& rank) {
    return !rank.left && rank.stalled <= limits.stall;
  };
  if (std::ranges::any_of(ranks, gets_on)) return std::nullopt;
  const absl::Status stall = ExplainStall(ranks, limits.stall);
  if (stall.ok()) return std::nullopt;
  return stall;
}

}  // namespace hetero
