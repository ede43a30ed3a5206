#include "hetero/trainer/step/communicators.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {
namespace {

// Null for a group of one rank.
absl::StatusOr<Communicator*> Make(std::string channel, const Group& group,
                                   const CommunicatorOptions& options, CommunicatorFactory& factory,
                                   std::vector<std::unique_ptr<Communicator>>& owned) {
  if (group.size() < 2) return nullptr;
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> communicator,
                          factory.Create({std::move(channel), group}, options));
  return owned.emplace_back(std::move(communicator)).get();
}

}  // namespace

absl::StatusOr<LayerCommunicators> MakeLayerCommunicators(const Grid& grid,
                                                          const ParameterTable& table,
                                                          GlobalRank rank,
                                                          CommunicatorFactory& factory) {
  std::vector<Family> families = {Family::kTp};
  const bool has_experts = std::ranges::any_of(table.specs(), [](const ParameterSpec& spec) {
    return spec.gradient_group == GradientGroup::kExpert;
  });
  if (has_experts) families.insert(families.end(), {Family::kTpEp, Family::kTpDpCp});
  LayerCommunicators made;
  for (const Family family : families) {
    // Experts' rows go from every rank to every other.
    const CommunicatorOptions options =
        family == Family::kTpEp ? CommunicatorOptions() : CollectivesOnly();
    HETERO_ASSIGN_OR_RETURN(Communicator* const communicator,
                            Make(absl::StrCat("model.", FamilyName(family), ".", grid.name()),
                                 *grid.GroupOf(family, rank), options, factory, made.owned));
    made.by_family.Set(family, communicator);
  }
  return made;
}

absl::StatusOr<GradientCommunicators> MakeGradientCommunicators(std::string_view stage,
                                                                const Grid& grid,
                                                                ParameterStore& parameters,
                                                                GlobalRank rank,
                                                                CommunicatorFactory& factory) {
  GradientCommunicators made;
  const auto make = [&](Family family, const Group& group, std::string_view suffix = "") {
    return Make(absl::StrCat("gradient.", FamilyName(family), ".", stage, suffix), group,
                CollectivesOnly(), factory, made.owned);
  };
  const auto trains = [&](GradientGroup gradients) {
    return std::ranges::find(parameters.groups(), gradients, &FlatGroup::gradient_group) !=
           parameters.groups().end();
  };
  if (trains(GradientGroup::kDense)) {
    HETERO_ASSIGN_OR_RETURN(
        made.groups.dense, make(Family::kDpCpGtpRemat, *grid.GroupOf(Family::kDpCpGtpRemat, rank)));
  }
  if (trains(GradientGroup::kExpert)) {
    HETERO_ASSIGN_OR_RETURN(made.groups.expert,
                            make(Family::kExptDp, *grid.GroupOf(Family::kExptDp, rank)));
  }
  for (const int64_t replicas : PartialReplicas(parameters.groups())) {
    HETERO_ASSIGN_OR_RETURN(
        made.groups.partial[replicas],
        make(Family::kTp, *grid.PartOf(Family::kTp, rank, replicas), absl::StrCat(".", replicas)));
  }
  return made;
}

}  // namespace hetero
