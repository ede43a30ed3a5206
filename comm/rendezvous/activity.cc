#include "hetero/comm/rendezvous/activity.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero::internal {
namespace {

// A line for each of a thousand ranks helps nobody.
constexpr size_t kMaxNamed = 8;

bool IsWaiting(const RankView& rank) {
  return rank.came && !rank.left && rank.activity.in_call && !rank.activity.waits_for.empty();
}

std::string List(const std::vector<std::string>& items, std::string_view separator) {
  const size_t shown = std::min(items.size(), kMaxNamed);
  std::string text =
      absl::StrJoin(items.begin(), items.begin() + static_cast<long>(shown), separator);
  if (shown < items.size()) absl::StrAppend(&text, " and ", items.size() - shown, " more");
  return text;
}

std::string RankList(std::span<const int64_t> ranks) {
  std::vector<std::string> names;
  for (const int64_t rank : ranks) names.push_back(absl::StrCat("rank ", rank));
  return List(names, ", ");
}

// "rank 1 waits in 'x' on ... for rank 0"
std::string Waits(int64_t rank, const RankActivity& activity) {
  std::vector<int64_t> peers;
  for (const GlobalRank peer : activity.waits_for) peers.push_back(peer.value());
  return absl::StrCat("rank ", rank, " waits in ", activity.call, " for ", RankList(peers));
}

absl::Status Late(std::span<const RankView> ranks, absl::Duration limit) {
  std::vector<int64_t> missing;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!ranks[i].came) missing.push_back(static_cast<int64_t>(i));
  }
  return absl::DeadlineExceededError(absl::StrCat(RankList(missing), " of ", ranks.size(),
                                                  " did not come within ",
                                                  absl::FormatDuration(limit)));
}

absl::Status Stalled(std::span<const RankView> ranks, absl::Duration limit) {
  std::vector<int64_t> lagging;
  std::vector<std::string> waiting;
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (!IsWaiting(ranks[i])) continue;
    waiting.push_back(Waits(static_cast<int64_t>(i), ranks[i].activity));
    for (const GlobalRank peer : ranks[i].activity.waits_for) {
      const size_t p = static_cast<size_t>(peer.value());
      if (p < ranks.size() && !IsWaiting(ranks[p]) && !std::ranges::count(lagging, peer.value())) {
        lagging.push_back(peer.value());
      }
    }
  }
  if (lagging.empty()) {
    return absl::DeadlineExceededError(
        absl::StrCat("no rank got on for ", absl::FormatDuration(limit),
                     ", they wait for each other: ", List(waiting, "; ")));
  }
  std::ranges::sort(lagging);
  std::vector<std::string> lags;
  for (const int64_t rank : lagging) {
    const RankView& view = ranks[static_cast<size_t>(rank)];
    lags.push_back(absl::StrCat(
        "rank ", rank, view.left ? " has ended its run; " : " lags: ", LastCallOf(view.activity)));
  }
  return absl::DeadlineExceededError(absl::StrCat(
      List(lags, "; "), "; for ", absl::FormatDuration(limit), " ", List(waiting, "; ")));
}

}  // namespace

std::vector<std::string> EncodeActivity(const RankActivity& activity) {
  return {absl::StrCat(activity.progress), activity.call, activity.in_call ? "1" : "0",
          absl::StrJoin(activity.waits_for, ",", [](std::string* out, GlobalRank rank) {
            absl::StrAppend(out, rank.value());
          })};
}

absl::StatusOr<RankActivity> DecodeActivity(std::span<const std::string> texts) {
  const absl::Status malformed = absl::InvalidArgumentError("an activity that cannot be read");
  RankActivity activity;
  if (texts.size() != 4 || !absl::SimpleAtoi(texts[0], &activity.progress)) return malformed;
  activity.call = texts[1];
  activity.in_call = texts[2] == "1";
  std::string_view rest = texts[3];
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    int64_t rank = 0;
    if (!absl::SimpleAtoi(rest.substr(0, comma), &rank)) return malformed;
    activity.waits_for.emplace_back(rank);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return activity;
}

std::string LastCallOf(const RankActivity& activity) {
  if (activity.call.empty()) return "it has called nothing yet";
  return absl::StrCat(activity.in_call ? "it is in " : "it left ", activity.call);
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
  bool somebody_waits = false;
  for (const RankView& rank : ranks) {
    if (rank.left) continue;
    if (rank.stalled <= limits.stall) return std::nullopt;
    somebody_waits = somebody_waits || IsWaiting(rank);
  }
  if (!somebody_waits) return std::nullopt;
  return Stalled(ranks, limits.stall);
}

}  // namespace hetero::internal
