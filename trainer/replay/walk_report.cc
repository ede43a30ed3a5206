#include "hetero/trainer/replay/walk_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "hetero/base/status.h"
#include "hetero/params/parameter_spec.h"
#include "hetero/params/table.h"
#include "hetero/trainer/report/console.h"

namespace hetero {
namespace {

struct LaneLoss {
  double sum = 0;
  double count = 0;
  std::vector<std::string> samples;

  double mean() const { return count > 0 ? sum / count : 0; }
};

// By microbatch and lane of the module that owns the samples.
using Losses = std::map<std::pair<int64_t, int64_t>, LaneLoss>;

Losses LossesOf(const ModelGraph& graph, const Grid& owner,
                std::span<const StepWalk* const> walks) {
  const Metric& minimized = graph.metrics.front();
  Losses losses;
  for (int64_t r = 0; r < owner.num_ranks(); ++r) {
    const GlobalRank rank(owner.first_rank().value() + r);
    for (const auto& [microbatch, totals] : walks[rank.value()]->totals()) {
      LaneLoss& loss = losses[{microbatch, owner.LaneOf(rank).value()}];
      loss.sum += totals[minimized.numerator];
      loss.count += totals[minimized.denominator];
    }
  }
  return losses;
}

struct FoundPlace {
  NonFinitePlace place;
  int64_t rank = 0;

  // Forwards before backwards, sources before what they feed.
  auto Order() const {
    return std::tuple(place.backward, place.microbatch, place.backward ? -place.stage : place.stage,
                      place.backward ? -int64_t{place.layer} : int64_t{place.layer}, rank);
  }
};

std::optional<FoundPlace> FirstOf(std::span<const StepWalk* const> walks) {
  std::optional<FoundPlace> first;
  for (size_t r = 0; r < walks.size(); ++r) {
    if (!walks[r]->first().has_value()) continue;
    const FoundPlace found{*walks[r]->first(), static_cast<int64_t>(r)};
    if (!first.has_value() || found.Order() < first->Order()) first = found;
  }
  return first;
}

// " at the layer of decoder.layers.2.norm.weight"; nothing of what a stage returns.
absl::StatusOr<std::string> AtLayer(const Model& model, const PlanStage& stage, int layer) {
  if (layer == kLastLayer) return "";
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, model.MakeTable(stage.module, {}));
  const auto spec = std::ranges::find(table.specs(), layer, &ParameterSpec::layer);
  return spec == table.specs().end() ? absl::StrCat(" at layer ", layer)
                                     : absl::StrCat(" at the layer of ", spec->name);
}

}  // namespace

absl::StatusOr<std::string> DescribeWalk(const Model& model, const Layout& layout,
                                         const StepPlan& plan, int64_t step,
                                         std::span<const StepWalk* const> walks,
                                         const std::vector<SampleOfStep>& samples) {
  const ModelGraph& graph = model.graph();
  Losses losses = LossesOf(graph, *layout.Find(graph.SampleOwner().name), walks);
  for (const SampleOfStep& sample : samples) {
    losses[{sample.microbatch, sample.lane}].samples.push_back(sample.name);
  }
  const auto largest = std::ranges::max_element(losses, {}, [](const auto& loss) {
    return std::isfinite(loss.second.mean()) ? loss.second.mean() : -HUGE_VAL;
  });
  std::string text = absl::StrCat("iteration ", step + 1, ", microbatch by microbatch:");
  for (auto loss = losses.begin(); loss != losses.end(); ++loss) {
    absl::StrAppend(&text, "\n  microbatch ", loss->first.first, ", lane ", loss->first.second,
                    ": ", graph.metrics.front().name, " ",
                    FormatNumber("%.4f", loss->second.mean()),
                    loss == largest && losses.size() > 1 && std::isfinite(loss->second.mean())
                        ? ", the largest; "
                        : "; ",
                    absl::StrJoin(loss->second.samples, ", "));
  }
  const std::optional<FoundPlace> first = FirstOf(walks);
  if (!first.has_value()) {
    return absl::StrCat(text, "\nevery output of a layer and every gradient of one is finite");
  }
  const PlanStage& stage = plan.stages[first->place.stage];
  HETERO_ASSIGN_OR_RETURN(const std::string layer, AtLayer(model, stage, first->place.layer));
  return absl::StrCat(text, "\nfirst infinite or NaN: the ",
                      first->place.backward ? "gradient of what was read by " : "output of ",
                      stage.name(), layer, ", microbatch ", first->place.microbatch, ", rank ",
                      first->rank);
}

}  // namespace hetero
