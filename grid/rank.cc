#include "hetero/grid/rank.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace hetero {

std::optional<GroupRank> RankIn(std::span<const GlobalRank> group, GlobalRank rank) {
  const auto position = std::lower_bound(group.begin(), group.end(), rank);
  if (position == group.end() || *position != rank) return std::nullopt;
  return GroupRank(position - group.begin());
}

std::string ToString(std::span<const GlobalRank> group) {
  return absl::StrCat("[", absl::StrJoin(group, ", "), "]");
}

}  // namespace hetero
