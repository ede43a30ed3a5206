// Whoever shares a parameter with whom: sums, norms and state are those of one rank.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"
#include "hetero/optim/testing/rank_rig.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;

// The gradient of an element, which its ranks have parts of: whole numbers, so that sums are exact.
constexpr int64_t kParts = 16;
int64_t Gradient(const ParameterSpec& spec, int64_t index) {
  return kParts * ((7 * index + std::ssize(spec.name)) % 11 - 5);
}
int64_t PartOfGradient(const ParameterSpec& spec, int64_t index, int64_t part, int64_t num_parts) {
  const int64_t equal = Gradient(spec, index) / kParts;
  return part > 0 ? equal : equal * (kParts - num_parts + 1);
}

struct SharedLayout {
  GridSpec grid;
  std::vector<int64_t> partial_replicas;
};

class SharedParametersTest : public ::testing::TestWithParam<SharedLayout> {};

// Writes this rank's parts, or says whether its shares hold the sums.
bool VisitGradients(RankRig& rig, GlobalRank rank, bool check) {
  bool right = true;
  for (FlatGroup& group : rig.store->groups()) {
    const bool dense = group.gradient_group == GradientGroup::kDense;
    const Group& sharing = dense ? rig.dense_group : rig.expert_group;
    const int64_t share = RankIn(sharing, rank)->value();
    for (const FlatSegment& segment : group.segments) {
      const ParameterSpec& spec = *segment.parameter->spec;
      const std::span<float> gradient = segment.parameter->gradient.values<float>();
      std::vector<bool> own(gradient.size());
      for (size_t b = 0; b < group.buckets.buckets().size(); ++b) {
        const ElementRange part = Intersect(group.buckets.Own(b, share), segment.range);
        std::fill_n(own.begin() + (part.begin - segment.range.begin), part.count, true);
      }
      segment.parameter->gradient_written = true;
      for (const ShardBox& box : segment.shard->boxes) {
        // Of those that hold "alike" or "head", each has the same gradient.
        const bool parts = std::ranges::any_of(segment.runs, &SharedRun::partial);
        const int64_t holders = parts ? box.replicas : 1;
        const int64_t part = share * holders + (holders > 1 ? box.replica : 0);
        ForEachElement(spec.shape, segment.shard->shape, box, [&](int64_t logical, int64_t local) {
          if (!check) {
            gradient[local] = static_cast<float>(
                PartOfGradient(spec, logical, part, std::ssize(sharing) * holders));
          } else if (own[local]) {
            right &= gradient[local] == static_cast<float>(Gradient(spec, logical));
          }
        });
      }
    }
  }
  return right;
}

TEST_P(SharedParametersTest, GradientsAndNormAreThoseOfOneRank) {
  const Grid grid = MakeGrid(GetParam().grid);
  const ParameterTable table = ParameterTable::Make(EveryWayToShare()).value();
  std::vector<double> squares(GetParam().grid.num_ranks);
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    RankRig rig(table, grid, rank, {.optimizer = {.buckets = {.bucket_elements = 100}}}, &factory);
    if (PartialReplicas(rig.store->groups()) != GetParam().partial_replicas) {
      return absl::InternalError("partial replicas");
    }
    VisitGradients(rig, rank, /*check=*/false);
    HETERO_RETURN_IF_ERROR(rig.traffic->Reduce());
    if (!VisitGradients(rig, rank, /*check=*/true)) return absl::InternalError("a sum");
    std::vector<double> totals = {0, 0}, non_finite(table.specs().size());
    HETERO_RETURN_IF_ERROR(rig.module->AddStatistics(
        TensorView(std::span(totals), {2}),
        TensorView(std::span(non_finite), {std::ssize(non_finite)}), *rig.stream));
    squares[static_cast<size_t>(rank.value())] = totals[0];
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(GetParam().grid.num_ranks, run), IsOk());
  double expected = 0;
  for (const ParameterSpec& of : table.specs()) {
    for (int64_t i = 0; i < of.num_elements(); ++i) expected += std::pow(Gradient(of, i), 2);
  }
  EXPECT_EQ(std::accumulate(squares.begin(), squares.end(), 0.0), expected);
}

// Every element of the state is one owner's.
TEST_P(SharedParametersTest, StatesCoverTheModelOnce) {
  const Grid grid = MakeGrid(GetParam().grid);
  const ParameterTable table = ParameterTable::Make(EveryWayToShare()).value();
  absl::flat_hash_map<std::string, std::vector<int>> seen;
  absl::Mutex mutex;
  const auto run = [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    const RankRig rig(table, grid, rank, {.optimizer = {.buckets = {.bucket_elements = 100}}},
                      &factory);
    const absl::MutexLock lock(&mutex);
    for (const StateTensor& state : rig.module->States()) {
      const std::vector<int64_t> dims(state.local.dims().begin(), state.local.dims().end());
      int64_t count = 1;
      for (const int64_t dim : state.shape) count *= dim;
      std::vector<int>& of_state = seen[state.name];
      of_state.resize(count);
      for (const ShardBox& box : state.boxes) {
        ForEachElement(state.shape, dims, box, [&](int64_t logical, int64_t) {
          if (box.replica == 0) ++of_state[logical];
        });
      }
    }
    return absl::OkStatus();
  };
  EXPECT_THAT(RunRanks(GetParam().grid.num_ranks, run), IsOk());
  ASSERT_EQ(seen.size(), 3 * table.specs().size());
  for (const ParameterSpec& spec : table.specs()) {
    for (const std::string_view kind : {"param", "exp_avg", "exp_avg_sq"}) {
      EXPECT_THAT(seen[absl::StrCat(kind, ".", spec.name)], ::testing::Each(1)) << spec.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, SharedParametersTest,
    ::testing::Values(SharedLayout{{.num_ranks = 1}, {}}, SharedLayout{{.num_ranks = 3}, {}},
                      SharedLayout{{.num_ranks = 2, .tp = 2}, {2}},
                      SharedLayout{{.num_ranks = 4, .tp = 2}, {2}},
                      SharedLayout{{.num_ranks = 4, .tp = 2, .ep = 4}, {2}},
                      SharedLayout{{.num_ranks = 4, .tp = 4, .ep = 2}, {2, 4}},
                      SharedLayout{{.num_ranks = 8, .tp = 4, .ep = 2, .expt_tp = 2}, {2, 4}}));

// Dense state is divided by dp, that of experts by expt_dp; what is allocated was predicted.
TEST(OptimizerMemoryTest, StateIsDividedAmongTheRanksThatShareIt) {
  const ParameterTable table =
      ParameterTable::Make({{.name = "dense", .shape = {300, 7}, .storage = DType::kBF16},
                            {.name = "experts",
                             .shape = {4, 100, 9},
                             .storage = DType::kBF16,
                             .dims = {{ShardAxis::kEp}, {}, {}},
                             .gradient_group = GradientGroup::kExpert}})
          .value();
  for (const int64_t dp : {1, 2, 4}) {
    for (const int64_t ep : {1, 2}) {
      if (ep > dp) continue;
      const Grid grid = MakeGrid({.num_ranks = dp, .ep = ep});
      const auto bytes = [&](DeviceKind device, CommunicatorFactory* factory, GlobalRank rank) {
        return RankRig(table, grid, rank, {}, factory, device).memory;
      };
      const int64_t expert_ranks = dp / ep;
      const auto share = [](int64_t elements, int64_t ranks) {
        return RoundUp(elements, 128 * ranks) / ranks;
      };
      // Two moments and a master of 4 bytes.
      const int64_t expected = 12 * (share(2100, dp) + share(3600 / ep, expert_ranks));
      std::vector<MemoryLedger> ledgers(dp);
      EXPECT_THAT(RunRanks(dp,
                           [&](GlobalRank rank, CommunicatorFactory& factory) {
                             ledgers[rank.value()] = bytes(DeviceKind::kCpu, &factory, rank);
                             return absl::OkStatus();
                           }),
                  IsOk());
      std::vector<MemoryLedger> predicted(dp);
      EXPECT_THAT(RunRanks(dp,
                           [&](GlobalRank rank, CommunicatorFactory& factory) {
                             predicted[rank.value()] =
                                 bytes(DeviceKind::kShapeOnly, &factory, rank);
                             return absl::OkStatus();
                           }),
                  IsOk());
      for (int64_t r = 0; r < dp; ++r) {
        EXPECT_EQ(ledgers[r].bytes(MemoryLabel::kOptimizer), expected) << dp << " " << ep;
        EXPECT_EQ(ledgers[r], predicted[r]) << dp << " " << ep;
      }
    }
  }
}

}  // namespace
}  // namespace hetero
