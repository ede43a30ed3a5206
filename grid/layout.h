#ifndef HETERO_GRID_LAYOUT_H_
#define HETERO_GRID_LAYOUT_H_

// The grids of a run over the world: a pure value that every rank computes alike.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/module_grid.h"
#include "hetero/grid/rank.h"

namespace hetero {

enum class Placement {
  kColocated,     // at least two grids, all on the same ranks
  kNonColocated,  // grids on disjoint ranks
};

// Samples of a lane's microbatch at most.
inline constexpr int64_t kMaxMicroBatchSize = 65536;

// What corrections call the number of ranks that a run starts with.
inline constexpr std::string_view kWorldSize = "world_size";

// Violations of sample counts: one microbatch of the whole run has micro_batch_size samples for
// each lane of the module `sample_owner`, which must divide evenly among the lanes of every grid.
// Specs that are broken on their own, a list without that module, and a micro_batch_size that is
// not one of kMaxMicroBatchSize are passed over.
std::vector<Violation> ValidateLanes(std::span<const GridSpec> specs, std::string_view sample_owner,
                                     int64_t micro_batch_size);

// Violations of placement: spans that partly overlap, ranks of the world that no grid covers, grids
// beyond its end. The last is judged with the offsets that the others propose, so that who follows
// all of this advice has grids that stand. Specs whose span is broken on its own are passed over.
std::vector<Violation> ValidateSpans(std::span<const GridSpec> specs, int64_t world_size);

// Every violation of a layout at once: spans, then names and each grid on its own. Pure.
std::vector<Violation> Validate(std::span<const GridSpec> specs, int64_t world_size);

// Invariant: names are distinct, the spans are all equal or pairwise disjoint, and together they
// are [0, world_size).
class Layout {
 public:
  // Errors: INVALID_ARGUMENT with all that Validate finds, one a line.
  static absl::StatusOr<Layout> Make(std::span<const GridSpec> specs, int64_t world_size);

  std::span<const Grid> grids() const { return grids_; }
  int64_t world_size() const { return world_size_; }
  Placement placement() const { return placement_; }

  // nullptr when no module has that name.
  const Grid* Find(std::string_view name) const;

  // One line a grid, both views. Equal texts mean equal layouts.
  std::string ToString() const;

 private:
  Layout() = default;

  std::vector<Grid> grids_;
  int64_t world_size_ = 0;
  Placement placement_ = Placement::kNonColocated;
};

}  // namespace hetero

#endif  // HETERO_GRID_LAYOUT_H_
