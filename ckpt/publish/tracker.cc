#include "hetero/ckpt/publish/tracker.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/publish/names.h"

namespace hetero {
namespace {

// More is no number.
constexpr int64_t kMostBytes = 4096;

std::string Describe(const Tracker& tracker) {
  switch (tracker.kind) {
    case Tracker::Kind::kAbsent:
      return "no tracker";
    case Tracker::Kind::kIteration:
      return absl::StrCat("iteration ", tracker.iteration);
    case Tracker::Kind::kRelease:
      return "release";
    case Tracker::Kind::kGarbled:
      return "a tracker that cannot be read";
  }
  return "";
}

// Order of what ranks see: the last is what all go by.
std::pair<int, int64_t> Order(const Tracker& tracker) {
  switch (tracker.kind) {
    case Tracker::Kind::kAbsent:
      return {0, 0};
    case Tracker::Kind::kGarbled:
      return {1, 0};
    case Tracker::Kind::kRelease:
      return {2, 0};
    case Tracker::Kind::kIteration:
      return {3, tracker.iteration};
  }
  return {};
}

}  // namespace

int64_t Tracker::Encode() const {
  switch (kind) {
    case Kind::kAbsent:
      return -1;
    case Kind::kRelease:
      return -2;
    case Kind::kGarbled:
      return -3;
    case Kind::kIteration:
      return iteration;
  }
  return -1;
}

Tracker Tracker::Decode(int64_t code) {
  if (code >= 0) return {.kind = Kind::kIteration, .iteration = code};
  return {.kind = code == -2 ? Kind::kRelease : code == -3 ? Kind::kGarbled : Kind::kAbsent};
}

std::string Tracker::CheckpointName() const {
  return kind == Kind::kRelease ? std::string(kReleaseName) : IterationName(iteration);
}

Tracker ParseTracker(std::string_view text) {
  const std::string_view word = absl::StripAsciiWhitespace(text);
  if (word == kReleaseName) return {.kind = Tracker::Kind::kRelease};
  const bool digits = !word.empty() && std::all_of(word.begin(), word.end(), absl::ascii_isdigit);
  Tracker tracker = {.kind = Tracker::Kind::kIteration};
  if (digits && absl::SimpleAtoi(word, &tracker.iteration)) return tracker;
  return {.kind = Tracker::Kind::kGarbled};
}

absl::StatusOr<Tracker> ReadTracker(Storage& storage, const std::filesystem::path& folder) {
  const absl::StatusOr<std::string> text = ReadText(storage, folder / kTrackerName, kMostBytes);
  if (absl::IsNotFound(text.status())) return Tracker{};
  if (absl::IsDataLoss(text.status())) return Tracker{.kind = Tracker::Kind::kGarbled};
  HETERO_RETURN_IF_ERROR(text);
  return ParseTracker(*text);
}

absl::Status WriteTracker(Storage& storage, const std::filesystem::path& folder,
                          int64_t iteration) {
  return ReplaceText(storage, folder / kTrackerName, absl::StrCat(iteration));
}

AgreedTracker AgreeOnTracker(std::span<const Tracker> by_rank) {
  std::map<std::pair<int, int64_t>, std::vector<int64_t>> ranks;
  AgreedTracker agreed;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    ranks[Order(by_rank[rank])].push_back(static_cast<int64_t>(rank));
    if (Order(by_rank[rank]) >= Order(agreed.tracker)) agreed.tracker = by_rank[rank];
  }
  if (ranks.size() < 2) return agreed;
  std::vector<std::string> seen;
  for (const auto& [order, members] : ranks) {
    const std::string_view some = members.size() > 8 ? ",.." : "";
    const std::span<const int64_t> first(members.data(), std::min<size_t>(members.size(), 8));
    seen.push_back(
        absl::StrCat(Describe(by_rank[members[0]]), " by ranks ", absl::StrJoin(first, ","), some));
  }
  agreed.warnings.push_back(
      absl::StrCat("ranks see different trackers: ", absl::StrJoin(seen, "; "), "; all go by ",
                   Describe(agreed.tracker)));
  return agreed;
}

}  // namespace hetero
