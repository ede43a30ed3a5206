#include "hetero/models/stage.h"

#include <algorithm>
#include <vector>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/ops/elementwise/elementwise.h"

namespace hetero {

const GraphModule& ModelGraph::Module(std::string_view name) const {
  const auto found = std::ranges::find(modules, name, &GraphModule::name);
  CHECK(found != modules.end()) << name;
  return *found;
}

const GraphModule& ModelGraph::SampleOwner() const {
  const auto found = std::ranges::find(modules, true, &GraphModule::owns_samples);
  CHECK(found != modules.end());
  return *found;
}

std::vector<std::string> ModelGraph::ModuleNames() const {
  std::vector<std::string> names;
  for (const GraphModule& module : modules) names.push_back(module.name);
  return names;
}

absl::StatusOr<StageStatistics> Stage::TakeStatistics(Stream& stream) {
  ArenaScope scope(stream.workspace());
  HETERO_ASSIGN_OR_RETURN(const TensorView totals,
                          stream.workspace().Allocate(DType::kF64, {num_totals()}));
  HETERO_RETURN_IF_ERROR(Fill(0, totals, stream));
  HETERO_RETURN_IF_ERROR(TakeTotals(totals, stream));
  std::vector<double> sums(num_totals());
  HETERO_RETURN_IF_ERROR(
      CopyToHost(totals, TensorView(sums.data(), DType::kF64, {num_totals()}), stream));
  HETERO_RETURN_IF_ERROR(stream.Synchronize());
  return StageStatistics{.loss_sum = sums[kStageLossSum],
                         .loss_weight = sums[kStageLossWeight],
                         .sequences = static_cast<int64_t>(sums[kStageSequences]),
                         .exact_matches = static_cast<int64_t>(sums[kStageExactMatches]),
                         .balance_loss = sums[kStageBalanceLoss],
                         .balance_tokens = static_cast<int64_t>(sums[kStageBalanceTokens]),
                         .invalid_ids = static_cast<int64_t>(sums[kStageInvalidIds]),
                         .expert_exchanges = static_cast<int64_t>(sums[kStageExpertExchanges]),
                         .expert_rounds = static_cast<int64_t>(sums[kStageExpertRounds])};
}

absl::StatusOr<std::vector<BoxMap>> Model::NamesIn(NameScheme, std::string_view module) const {
  HETERO_ASSIGN_OR_RETURN(const ParameterTable table, MakeTable(module, {}));
  std::vector<BoxMap> maps;
  for (const ParameterSpec& spec : table.specs()) {
    maps.push_back(WholeTensor(spec, absl::StrCat(module, ".", spec.name)));
  }
  return maps;
}

}  // namespace hetero
