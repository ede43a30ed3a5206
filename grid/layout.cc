#include "hetero/grid/layout.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/counted.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

struct Span {
  const GridSpec* spec;
  int64_t begin;
  int64_t end;
};

std::vector<Span> SpansOf(std::span<const GridSpec> specs) {
  std::vector<Span> spans;
  for (const GridSpec& spec : specs) {
    const bool sound = spec.num_ranks >= 1 && spec.num_ranks <= kMaxRanks &&
                       spec.rank_offset >= 0 && spec.rank_offset <= kMaxRanks;
    if (!sound) continue;
    spans.push_back({&spec, spec.rank_offset, spec.rank_offset + spec.num_ranks});
  }
  std::stable_sort(spans.begin(), spans.end(),
                   [](const Span& a, const Span& b) { return a.begin < b.begin; });
  return spans;
}

bool AllEqual(std::span<const Span> spans) {
  return std::all_of(spans.begin(), spans.end(), [&](const Span& span) {
    return span.begin == spans.front().begin && span.end == spans.front().end;
  });
}

std::string Ranks(int64_t begin, int64_t end) {
  return absl::StrCat("ranks [", begin, ", ", end, ")");
}

// Changes the ranks of `spec` by `change` when it is then a grid that stands on its own.
void AddResize(const GridSpec& spec, int64_t change, Violation& violation) {
  GridSpec resized = spec;
  resized.num_ranks += change;
  if (!Validate(resized).empty()) return;
  violation.corrections.push_back(
      {{absl::StrCat(spec.name, ".num_ranks"), absl::StrCat(resized.num_ranks)}});
}

std::vector<Violation> ValidateNames(std::span<const GridSpec> specs) {
  std::vector<Violation> violations;
  for (size_t i = 0; i < specs.size(); ++i) {
    const std::string& name = specs[i].name;
    const bool seen = std::any_of(specs.begin(), specs.begin() + static_cast<ptrdiff_t>(i),
                                  [&](const GridSpec& spec) { return spec.name == name; });
    if (!seen) continue;
    violations.push_back(
        Refuse(absl::StrCat("grids[", i, "].name"),
               absl::StrCat(" is '", name, "', which an earlier grid has; names must differ"),
               {absl::StrCat(name, "_", i)}));
  }
  return violations;
}

}  // namespace

std::vector<Violation> ValidateLanes(std::span<const GridSpec> specs, std::string_view sample_owner,
                                     int64_t micro_batch_size) {
  std::vector<Violation> violations;
  const auto owner = std::ranges::find(specs, sample_owner, &GridSpec::name);
  if (owner == specs.end() || !Validate(*owner).empty() || micro_batch_size < 1 ||
      micro_batch_size > kMaxMicroBatchSize) {
    return violations;
  }
  const int64_t owner_lanes = owner->num_lanes();
  const int64_t samples = micro_batch_size * owner_lanes;
  for (const GridSpec& spec : specs) {
    if (&spec == &*owner || !Validate(spec).empty()) continue;
    const int64_t lanes = spec.num_lanes();
    if (samples % lanes == 0) continue;
    int64_t nearest_lanes = lanes;
    while (samples % nearest_lanes != 0) --nearest_lanes;
    // The sizes that divide are the multiples of this one.
    const int64_t unit = lanes / std::gcd(lanes, owner_lanes);
    const std::string field = absl::StrCat(spec.name, ".num_ranks");
    Violation violation{
        field, absl::StrCat(spec.name, " has ", lanes, " data lanes, which do not divide the ",
                            Counted(samples, "sample"), " of one microbatch (micro_batch_size ",
                            micro_batch_size, " * ",
                            Counted(owner_lanes, absl::StrCat(sample_owner, " lane")), ")")};
    const int64_t above = RoundUp(micro_batch_size, unit);
    for (const int64_t size : {above, above - unit}) {
      if (size < 1 || size > kMaxMicroBatchSize) continue;
      violation.corrections.push_back({{"micro_batch_size", absl::StrCat(size)}});
    }
    AddResize(spec, spec.num_ranks / lanes * nearest_lanes - spec.num_ranks, violation);
    violations.push_back(std::move(violation));
  }
  return violations;
}

std::vector<Violation> ValidateSpans(std::span<const GridSpec> specs, int64_t world_size) {
  std::vector<Violation> violations;
  const std::vector<Span> spans = SpansOf(specs);
  if (spans.empty()) return violations;
  const bool colocated = spans.size() > 1 && AllEqual(spans);
  int64_t covered = 0;
  int64_t total = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    const Span& span = spans[i];
    if (colocated && i > 0) break;
    if (span.begin < covered) {
      const auto previous = std::find_if(spans.begin(), spans.end(),
                                         [&](const Span& other) { return other.end > span.begin; });
      violations.push_back(
          Refuse(absl::StrCat(span.spec->name, ".rank_offset"),
                 absl::StrCat(" is ", span.begin, ": ", span.spec->name, " on ",
                              Ranks(span.begin, span.end), " overlaps ", previous->spec->name,
                              " on ", Ranks(previous->begin, previous->end), " at ",
                              Ranks(span.begin, std::min(covered, span.end)),
                              "; spans must be all equal or disjoint"),
                 {absl::StrCat(covered)}));
    } else if (span.begin > covered) {
      const std::string field = absl::StrCat(span.spec->name, ".rank_offset");
      violations.push_back(
          {field,
           absl::StrCat("no grid covers ", Ranks(covered, span.begin), ", but ", field, " is ",
                        span.begin, "; grids must cover every rank"),
           {{{field, absl::StrCat(covered)}}}});
    }
    covered = std::max(covered, span.end);
    total += span.spec->num_ranks;
  }
  const Span& last = *std::max_element(spans.begin(), spans.end(),
                                       [](const Span& a, const Span& b) { return a.end < b.end; });
  // Once every offset is as proposed, the grids lie one behind the other.
  if (total == world_size) return violations;
  const std::string field = absl::StrCat(last.spec->name, ".num_ranks");
  Violation violation{field, {}};
  if (total != covered || !violations.empty()) {
    violation.message = absl::StrCat("the grids have ", Counted(total, "rank"),
                                     " in all, the world has ", world_size);
  } else if (covered < world_size) {
    violation.message = absl::StrCat("grids cover ranks [0, ", covered, ") of ", world_size);
  } else {
    violation.message = absl::StrCat(last.spec->name, " is on ", Ranks(last.begin, last.end),
                                     ", but the world has ", Counted(world_size, "rank"));
  }
  // A world beyond all grids is its starter's to refuse.
  if (world_size >= 1 && world_size <= kMaxRanks) {
    AddResize(*last.spec, world_size - total, violation);
    const Span& largest = *std::max_element(
        spans.begin(), spans.end(),
        [](const Span& a, const Span& b) { return a.spec->num_ranks < b.spec->num_ranks; });
    if (violation.corrections.empty() && total > world_size) {
      AddResize(*largest.spec, world_size - total, violation);
    }
  }
  violation.corrections.push_back({{std::string(kWorldSize), absl::StrCat(total)}});
  violations.push_back(std::move(violation));
  return violations;
}

std::vector<Violation> Validate(std::span<const GridSpec> specs, int64_t world_size) {
  Violations violations;
  violations.Add(ValidateSpans(specs, world_size));
  violations.Add(ValidateNames(specs));
  for (const GridSpec& spec : specs) violations.Add(Validate(spec));
  return violations.Take();
}

absl::StatusOr<Layout> Layout::Make(std::span<const GridSpec> specs, int64_t world_size) {
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(specs, world_size)));
  Layout layout;
  layout.world_size_ = world_size;
  for (const GridSpec& spec : specs) {
    HETERO_ASSIGN_OR_RETURN(Grid grid, Grid::Make(spec));
    layout.grids_.push_back(std::move(grid));
  }
  const std::vector<Span> spans = SpansOf(specs);
  if (spans.size() > 1 && AllEqual(spans)) layout.placement_ = Placement::kColocated;
  return layout;
}

const Grid* Layout::Find(std::string_view name) const {
  const auto found = std::find_if(grids_.begin(), grids_.end(),
                                  [&](const Grid& grid) { return grid.name() == name; });
  return found == grids_.end() ? nullptr : &*found;
}

std::string Layout::ToString() const {
  return absl::StrCat("world ", world_size_, "\n",
                      absl::StrJoin(grids_, "", [](std::string* out, const Grid& g) {
                        absl::StrAppend(out, g.name(), " ", g.base().ToString(), "; experts ",
                                        g.expert().ToString(), "\n");
                      }));
}

}  // namespace hetero
