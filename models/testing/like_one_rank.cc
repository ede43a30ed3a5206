// Runs of a module on one rank, on the ranks of a grid, and on shape-only ranks, compared.

#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/log/check.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "hetero/base/fresh_random.h"
#include "hetero/base/status.h"
#include "hetero/comm/loopback/loopback.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/models/testing/parallel_rig.h"
#include "hetero/models/testing/whole_tensors.h"

namespace hetero {
namespace {

ShardSpec ShardIn(const Grid& grid, GlobalRank rank) {
  const auto axis = [&](Axis axis) {
    return ShardSpec::Axis{.rank = grid.Coord(rank, axis), .size = grid.Size(axis)};
  };
  return {.tp = axis(Axis::kTp), .ep = axis(Axis::kEp), .expt_tp = axis(Axis::kExptTp)};
}

// A rank's communicators, which end before the run does.
struct OwnedCommunicators {
  std::vector<std::unique_ptr<Communicator>> owned;
  ModuleCommunicators by_family;
};

absl::StatusOr<OwnedCommunicators> MakeCommunicators(const Grid& grid, GlobalRank rank,
                                                     CommunicatorFactory& factory) {
  OwnedCommunicators result;
  for (int i = 0; i < kNumFamilies; ++i) {
    const auto family = static_cast<Family>(i);
    const std::optional<Group> group = grid.GroupOf(family, rank);
    if (!group.has_value() || group->size() < 2) continue;
    HETERO_ASSIGN_OR_RETURN(
        std::unique_ptr<Communicator> communicator,
        factory.Create({.channel = std::string(FamilyName(family)), .members = *group}));
    result.by_family.Set(family, communicator.get());
    result.owned.push_back(std::move(communicator));
  }
  return result;
}

// Runs `run` on one rank of `grid`; with a factory of loopback, alone.
absl::StatusOr<std::unique_ptr<ParallelRig>> RunRank(
    const Grid& grid, GlobalRank rank, CommunicatorFactory& factory, Device device, uint64_t seed,
    const std::function<absl::Status(ParallelRig&)>& run, const LikeOneRankOptions& options) {
  HETERO_ASSIGN_OR_RETURN(const OwnedCommunicators communicators,
                          MakeCommunicators(grid, rank, factory));
  auto rig =
      std::make_unique<ParallelRig>(ParallelRig::Place{.rank = rank,
                                                       .shard = ShardIn(grid, rank),
                                                       .communicators = communicators.by_family,
                                                       .lanes = {grid.LaneOf(rank).value()}},
                                    device, seed, options.weight_gradients_later);
  rig->context().selective_recompute = options.selective_recompute;
  HETERO_RETURN_IF_ERROR(run(*rig));
  return rig;
}

}  // namespace

void ExpectLikeOneRank(const GridSpec& spec, const std::function<absl::Status(ParallelRig&)>& run,
                       const LikeOneRankOptions& options) {
  const Grid grid = Grid::Make(spec).value();
  CHECK_EQ(grid.Size(Axis::kPp) * grid.Size(Axis::kCp), 1);
  const uint64_t seed = FreshSeed();
  SCOPED_TRACE(absl::StrCat(grid.base().ToString(), "; ", grid.expert().ToString(), "; seed ", seed,
                            options.weight_gradients_later ? "; weight gradients later" : "",
                            options.selective_recompute ? "; selective recompute" : ""));

  std::vector<int64_t> lanes(grid.num_lanes());
  std::iota(lanes.begin(), lanes.end(), 0);
  ParallelRig alone({.lanes = lanes}, {}, seed, /*weight_gradients_later=*/false);
  ASSERT_THAT(run(alone), ::absl_testing::IsOk()) << "on one rank";
  WholeTensors expected(options.tolerance);
  for (const ParallelRig::Kept& kept : alone.kept()) expected.Add(kept, {});

  std::vector<std::unique_ptr<ParallelRig>> ranks(grid.num_ranks());
  ASSERT_THAT(RunRanks(grid.num_ranks(),
                       [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
                         HETERO_ASSIGN_OR_RETURN(
                             ranks[rank.value()],
                             RunRank(grid, rank, factory, {}, seed, run, options));
                         return absl::OkStatus();
                       }),
              ::absl_testing::IsOk());
  WholeTensors actual(options.tolerance);
  for (const auto& rig : ranks) {
    for (const ParallelRig::Kept& kept : rig->kept()) actual.Add(kept, rig->shard());
  }

  const std::map<std::string, std::vector<double>> expected_tensors = expected.Take();
  const std::map<std::string, std::vector<double>> actual_tensors = actual.Take();
  ASSERT_EQ(actual_tensors.size(), expected_tensors.size());
  for (const auto& [name, values] : expected_tensors) {
    const auto found = actual_tensors.find(name);
    ASSERT_NE(found, actual_tensors.end()) << name;
    ExpectClose(name, found->second, values, options.tolerance);
  }

  if (!options.predictable) return;
  for (const auto& rig : ranks) {
    const auto factory = LoopbackFactory(rig->rank(), grid.num_ranks());
    const absl::StatusOr<std::unique_ptr<ParallelRig>> predicted =
        RunRank(grid, rig->rank(), *factory, {.kind = DeviceKind::kShapeOnly}, seed, run, options);
    ASSERT_THAT(predicted, ::absl_testing::IsOk()) << "on a shape-only rank " << rig->rank();
    const ParallelRig::Cost prediction = (*predicted)->cost(), cost = rig->cost();
    EXPECT_EQ(cost.activation_bytes, prediction.activation_bytes) << "rank " << rig->rank();
    EXPECT_EQ(cost.workspace_bytes, prediction.workspace_bytes) << "rank " << rig->rank();
    EXPECT_EQ(cost.parameter_bytes, prediction.parameter_bytes) << "rank " << rig->rank();
    if (options.predictable_operations) {
      EXPECT_EQ(cost.flops, prediction.flops) << "rank " << rig->rank();
    }
  }
}

}  // namespace hetero
