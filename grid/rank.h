#ifndef HETERO_GRID_RANK_H_
#define HETERO_GRID_RANK_H_

// The three integers that name a rank, and the ordered list of ranks that acts together.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hetero/base/strong_int.h"

namespace hetero {

HETERO_STRONG_INT(GlobalRank);  // position in the world
HETERO_STRONG_INT(GroupRank);   // position inside one group
HETERO_STRONG_INT(LaneId);      // position among the data lanes of one module

// Ranks in group order, always ascending.
using Group = std::vector<GlobalRank>;

// Position of `rank` in `group`; nullopt for outsiders.
std::optional<GroupRank> RankIn(std::span<const GlobalRank> group, GlobalRank rank);

// "[0, 2, 4]"
std::string ToString(std::span<const GlobalRank> group);

}  // namespace hetero

#endif  // HETERO_GRID_RANK_H_
