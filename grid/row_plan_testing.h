// Grids and samples for the tests of row plans.

#ifndef HETERO_GRID_ROW_PLAN_TESTING_H_
#define HETERO_GRID_ROW_PLAN_TESTING_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "hetero/base/index_range.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/plan_owners.h"

namespace hetero {

inline Grid MakeGrid(GridSpec spec) {
  if (spec.name.empty()) spec.name = "m";
  return Grid::Make(spec).value();
}

// A sample's rows as PlanOwners takes them, with the memory of its runs.
struct Placed {
  std::vector<IndexRange> runs;
  int64_t num_tokens = 8;
  std::optional<std::vector<LaneRows>> parts = {};

  int64_t num_rows() const {
    int64_t rows = 0;
    for (const IndexRange& run : runs) rows += run.count;
    return rows;
  }
};

inline std::vector<SampleRows> RowsOf(std::span<const Placed> samples) {
  std::vector<SampleRows> rows;
  for (const Placed& sample : samples) {
    rows.push_back({sample.num_rows(), sample.num_tokens, sample.runs});
    if (sample.parts.has_value()) rows.back().parts = *sample.parts;
  }
  return rows;
}

}  // namespace hetero

#endif  // HETERO_GRID_ROW_PLAN_TESTING_H_
