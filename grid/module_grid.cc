#include "hetero/grid/module_grid.h"

#include <algorithm>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

constexpr AxisSet kBaseAxes = {Axis::kTp, Axis::kGtpRemat, Axis::kCp, Axis::kDp, Axis::kPp};
constexpr AxisSet kExpertAxes = {Axis::kExptTp, Axis::kEp, Axis::kExptGtpRemat, Axis::kExptDp,
                                 Axis::kPp};

struct FamilyInfo {
  std::string_view name;
  AxisSet axes;
};

constexpr std::array<FamilyInfo, kNumFamilies> kFamilies = {{
    {"tp", Axis::kTp},
    {"gtp_remat", Axis::kGtpRemat},
    {"cp", Axis::kCp},
    {"pp", Axis::kPp},
    {"dp", Axis::kDp},
    {"dp_cp", {Axis::kDp, Axis::kCp}},
    {"dp_cp_gtp_remat", {Axis::kDp, Axis::kCp, Axis::kGtpRemat}},
    {"tp_cp", {Axis::kTp, Axis::kCp}},
    {"model_parallel", {Axis::kTp, Axis::kGtpRemat, Axis::kPp}},
    {"tp_dp", {Axis::kTp, Axis::kGtpRemat, Axis::kDp}},
    {"tp_dp_cp", {Axis::kTp, Axis::kGtpRemat, Axis::kDp, Axis::kCp}},
    {"module", kBaseAxes},
    {"ep", Axis::kEp},
    {"expt_tp", Axis::kExptTp},
    {"expt_gtp_remat", Axis::kExptGtpRemat},
    {"expt_dp", Axis::kExptDp},
    {"tp_ep", {Axis::kExptTp, Axis::kEp}},
    {"tp_ep_pp", {Axis::kExptTp, Axis::kEp, Axis::kPp}},
    {"tp_ep_pp_expt_gtp_remat", {Axis::kExptTp, Axis::kEp, Axis::kPp, Axis::kExptGtpRemat}},
    {"expt_dp_gtp_remat", {Axis::kExptDp, Axis::kExptGtpRemat}},
    {"word_embedding", Axis::kPp},
    {"position_embedding", Axis::kPp},
}};

bool IsEmbedding(Family family) {
  return family == Family::kWordEmbedding || family == Family::kPositionEmbedding;
}

struct Factor {
  std::string_view field;
  int64_t size;
};

// The product of positive sizes; above kMaxRanks only known to be so.
int64_t Product(std::span<const Factor> factors) {
  int64_t product = 1;
  for (const Factor& factor : factors) {
    if (factor.size > kMaxRanks / product) return kMaxRanks + 1;
    product *= factor.size;
  }
  return product;
}

// Adds a violation when the product of `factors` does not divide the rank count.
void CheckFactors(const GridSpec& spec, std::string_view derived, std::span<const Factor> factors,
                  std::vector<Violation>& violations) {
  const int64_t product = Product(factors);
  if (spec.num_ranks % product == 0) return;
  const std::string formula = absl::StrJoin(factors, " * ", [](std::string* out, const Factor& f) {
    absl::StrAppend(out, f.field, " ", f.size);
  });
  const std::string field = absl::StrCat(spec.name, ".num_ranks");
  const auto number = [](int64_t value) {
    return value > kMaxRanks ? absl::StrCat("more than ", kMaxRanks) : absl::StrCat(value);
  };
  Violation violation = Refuse(
      field, absl::StrCat(" is ", spec.num_ranks, ", must be a multiple of ", number(product), " (",
                          formula, ") so that ", derived, " is whole"));
  const int64_t below = spec.num_ranks / product * product;
  for (const int64_t nearest : {below, below + product}) {
    if (nearest < 1 || nearest > kMaxRanks) continue;
    violation.corrections.push_back({{field, absl::StrCat(nearest)}});
  }
  if (violation.corrections.empty()) {
    const Factor& largest = *std::max_element(
        factors.begin(), factors.end(),
        [](const Factor& one, const Factor& other) { return one.size < other.size; });
    violation.corrections.push_back({{absl::StrCat(spec.name, ".", largest.field), "1"}});
  }
  violations.push_back(std::move(violation));
}

}  // namespace

std::vector<Violation> Validate(const GridSpec& spec) {
  std::vector<Violation> violations;
  if (spec.name.empty()) {
    violations.push_back({"name", "a grid has no name; name the module it belongs to"});
  }
  bool sound = true;
  const auto check = [&](std::string_view field, int64_t value, int64_t least) {
    if (value >= least && value <= kMaxRanks) return;
    sound = false;
    const bool low = value < least;
    const int64_t nearest = low ? least : kMaxRanks;
    violations.push_back(Refuse(
        absl::StrCat(spec.name, ".", field),
        absl::StrCat(" is ", value, low ? ", must be at least " : ", must be at most ", nearest),
        {absl::StrCat(nearest)}));
  };
  const std::array<Factor, 8> sizes = {{{"num_ranks", spec.num_ranks},
                                        {"tp", spec.tp},
                                        {"gtp_remat", spec.gtp_remat},
                                        {"cp", spec.cp},
                                        {"pp", spec.pp},
                                        {"expt_tp", spec.expt_tp},
                                        {"ep", spec.ep},
                                        {"expt_gtp_remat", spec.expt_gtp_remat}}};
  for (const auto& [field, size] : sizes) check(field, size, 1);
  check("rank_offset", spec.rank_offset, 0);
  if (!sound) return violations;
  const std::array<Factor, 4> base = {
      {{"tp", spec.tp}, {"gtp_remat", spec.gtp_remat}, {"cp", spec.cp}, {"pp", spec.pp}}};
  const std::array<Factor, 4> expert = {{{"expt_tp", spec.expt_tp},
                                         {"ep", spec.ep},
                                         {"expt_gtp_remat", spec.expt_gtp_remat},
                                         {"pp", spec.pp}}};
  CheckFactors(spec, "dp", base, violations);
  CheckFactors(spec, "expt_dp", expert, violations);
  return violations;
}

std::string_view FamilyName(Family family) { return kFamilies[static_cast<size_t>(family)].name; }

AxisSet FamilyAxes(Family family) { return kFamilies[static_cast<size_t>(family)].axes; }

absl::StatusOr<Grid> Grid::Make(const GridSpec& spec) {
  HETERO_RETURN_IF_ERROR(ViolationsError(Validate(spec)));
  const GlobalRank first(spec.rank_offset);
  HETERO_ASSIGN_OR_RETURN(GridView base, GridView::Make(first, {{Axis::kTp, spec.tp},
                                                                {Axis::kGtpRemat, spec.gtp_remat},
                                                                {Axis::kCp, spec.cp},
                                                                {Axis::kDp, spec.dp()},
                                                                {Axis::kPp, spec.pp}}));
  HETERO_ASSIGN_OR_RETURN(GridView expert,
                          GridView::Make(first, {{Axis::kExptTp, spec.expt_tp},
                                                 {Axis::kEp, spec.ep},
                                                 {Axis::kExptGtpRemat, spec.expt_gtp_remat},
                                                 {Axis::kExptDp, spec.expt_dp()},
                                                 {Axis::kPp, spec.pp}}));
  return FromViews(spec.name, std::move(base), std::move(expert));
}

absl::StatusOr<Grid> Grid::FromViews(std::string name, GridView base, GridView expert) {
  for (const auto& [view, axes] : {std::pair(&base, kBaseAxes), std::pair(&expert, kExpertAxes)}) {
    if (view->axis_set() == axes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has axes ", view->axis_set().ToString(), ", needs ", axes.ToString()));
  }
  HETERO_RETURN_IF_ERROR(CheckSharedAxes(base, expert, Axis::kPp)).With(name);
  return Grid(std::move(name), std::move(base), std::move(expert));
}

const GridView& Grid::ViewOf(Axis axis) const { return kBaseAxes.Contains(axis) ? base_ : expert_; }

Group Grid::EmbeddingGroup(Family family, const Group& pipeline) const {
  if (family == Family::kPositionEmbedding || pipeline.size() == 1) return {pipeline.front()};
  return {pipeline.front(), pipeline.back()};
}

std::vector<Group> Grid::Groups(Family family) const {
  if (IsEmbedding(family)) {
    std::vector<Group> groups;
    for (const Group& pipeline : base_.Groups(Axis::kPp)) {
      groups.push_back(EmbeddingGroup(family, pipeline));
    }
    return groups;
  }
  const AxisSet axes = FamilyAxes(family);
  return kBaseAxes.ContainsAll(axes) ? base_.Groups(axes) : expert_.Groups(axes);
}

std::optional<Group> Grid::GroupOf(Family family, GlobalRank rank) const {
  if (!Contains(rank)) return std::nullopt;
  if (IsEmbedding(family)) {
    Group group = EmbeddingGroup(family, base_.GroupOf(rank, Axis::kPp));
    if (!RankIn(group, rank)) return std::nullopt;
    return group;
  }
  const AxisSet axes = FamilyAxes(family);
  return kBaseAxes.ContainsAll(axes) ? base_.GroupOf(rank, axes) : expert_.GroupOf(rank, axes);
}

std::optional<Group> Grid::PartOf(Family family, GlobalRank rank, int64_t size) const {
  const std::optional<Group> whole = GroupOf(family, rank);
  if (!whole) return std::nullopt;
  CHECK_EQ(std::ssize(*whole) % size, 0) << name_ << " " << FamilyName(family);
  const auto first = whole->begin() + RankIn(*whole, rank)->value() / size * size;
  return Group(first, first + size);
}

LaneId Grid::LaneOf(GlobalRank rank) const {
  return LaneId(Coord(rank, Axis::kDp) * Size(Axis::kGtpRemat) + Coord(rank, Axis::kGtpRemat));
}

Group Grid::LaneRanks(LaneId lane, int64_t stage) const {
  const int64_t gtp_remat = Size(Axis::kGtpRemat);
  const GlobalRank first = base_.RankAt({{Axis::kDp, lane.value() / gtp_remat},
                                         {Axis::kGtpRemat, lane.value() % gtp_remat},
                                         {Axis::kPp, stage}});
  return base_.GroupOf(first, {Axis::kTp, Axis::kCp});
}

}  // namespace hetero
