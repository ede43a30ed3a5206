#ifndef HETERO_TRAINER_REPORT_GRID_TEXT_H_
#define HETERO_TRAINER_REPORT_GRID_TEXT_H_

// A grid in words.

#include <cstdint>
#include <string>

#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"

namespace hetero {

// "rank 3", "ranks 0-7"
std::string RanksText(int64_t first, int64_t count);
std::string RanksText(const Grid& grid);

// "rank 3", and where its lane has others "rank 3, tp 1".
std::string RankText(GlobalRank rank, const Grid& grid);

// "tp 2, dp 4, pp 2, ep 8": the axes along which the module is divided; "whole model" without any.
std::string SizesText(const Grid& grid);

}  // namespace hetero

#endif  // HETERO_TRAINER_REPORT_GRID_TEXT_H_
