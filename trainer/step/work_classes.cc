#include "hetero/trainer/step/work_classes.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "hetero/grid/axis.h"
#include "hetero/grid/lane_blocks.h"
#include "hetero/trainer/step/op.h"

namespace hetero {
namespace {

// What the ranks of a class have in common.
using Key = std::vector<int64_t>;

// Axes of both views along which ranks differ in their share of the model, not of the data.
constexpr Axis kModelAxes[] = {Axis::kTp, Axis::kCp,     Axis::kPp,
                               Axis::kEp, Axis::kExptTp, Axis::kExptGtpRemat};

// What the lane of `rank` at one end of `channel` shares with each lane of the other, and whether
// that is within the rank itself. `stages`: those of the rank.
void AddOverlaps(const Layout& layout, const StepPlan& plan, int channel,
                 std::span<const int> stages, GlobalRank rank, Key& key) {
  const auto holds = [&](int stage) { return std::ranges::find(stages, stage) != stages.end(); };
  const PlanEdge& edge = plan.edges[EdgeOf(channel)];
  const int own = IsForward(channel) ? edge.source : edge.destination;
  const int other = IsForward(channel) ? edge.destination : edge.source;
  if (!holds(own)) return;
  const Grid& grid = *layout.Find(plan.stages[own].module);
  const Grid& others = *layout.Find(plan.stages[other].module);
  const bool is_both = holds(other);
  key.push_back(channel);
  for (const LaneOverlap& overlap :
       OverlapsOf(grid.LaneOf(rank), grid.num_lanes(), others.num_lanes())) {
    key.push_back(overlap.num_parts);
    key.push_back(is_both && others.LaneOf(rank) == overlap.other);
  }
}

Key KeyOf(const Layout& layout, const StepPlan& plan, GlobalRank rank) {
  const RankClass& ranks = plan.ClassOf(layout, rank);
  Key key = {&ranks - plan.classes.data()};
  for (const Grid& grid : layout.grids()) {
    if (!grid.Contains(rank)) continue;
    for (const Axis axis : kModelAxes) key.push_back(grid.Coord(rank, axis));
  }
  for (int edge = 0; edge < std::ssize(plan.edges); ++edge) {
    AddOverlaps(layout, plan, ForwardChannel(edge), ranks.stages, rank, key);
    AddOverlaps(layout, plan, BackwardChannel(edge), ranks.stages, rank, key);
  }
  return key;
}

}  // namespace

WorkClasses FindWorkClasses(const Layout& layout, const StepPlan& plan) {
  WorkClasses work;
  absl::flat_hash_map<Key, int> classes;
  for (int64_t r = 0; r < layout.world_size(); ++r) {
    Key key = KeyOf(layout, plan, GlobalRank(r));
    const auto rank_class = static_cast<int>(key.front());
    const auto [found, is_new] =
        classes.emplace(std::move(key), static_cast<int>(work.classes.size()));
    if (is_new) work.classes.push_back({.rank_class = rank_class, .first_rank = GlobalRank(r)});
    ++work.classes[found->second].num_ranks;
    work.of_rank.push_back(found->second);
  }
  return work;
}

}  // namespace hetero
