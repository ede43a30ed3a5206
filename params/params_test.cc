#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/params/init.h"
#include "hetero/params/parameter_store.h"
#include "hetero/params/shard.h"
#include "hetero/params/sharing.h"
#include "hetero/params/table.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

ParameterSpec InProjection() {
  return {.name = "mixer.in_proj.weight",
          .shape = {4 + 4 + 2 + 2 + 2, 3},
          .init = Init::Normal(0.5),
          .dims = {{ShardAxis::kTp, {{4}, {4}, {2}, {2}, {2}}}, {}}};
}

TEST(TableTest, MoreElementsThanHaveANumberAreRefused) {
  constexpr int64_t kLarge = int64_t{1} << 32;
  EXPECT_THAT(ParameterTable::Make({{.name = "small", .shape = {4}},
                                    {.name = "experts", .shape = {kLarge, kLarge, kLarge}}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the parameters up to experts [4294967296, 4294967296, "
                                 "4294967296]")));
  EXPECT_THAT(
      ParameterTable::Make({{.name = "w", .shape = {-1, 4}}}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("w has a dim of -1, must be 0 to")));
}

TEST(ShardTest, BlocksAreCutOneByOne) {
  const absl::StatusOr<Shard> shard = ShardOf(InProjection(), {.tp = {1, 2}});
  ASSERT_TRUE(shard.ok());
  EXPECT_THAT(shard->shape, testing::ElementsAre(7, 3));
  ASSERT_EQ(shard->boxes.size(), 5u);
  EXPECT_EQ(shard->boxes[1], (ShardBox{{6, 0}, {2, 0}, {2, 3}}));
  EXPECT_EQ(shard->boxes[4], (ShardBox{{13, 0}, {6, 0}, {1, 3}}));
}

TEST(ShardTest, AnIndivisibleBlockNamesTheNearestShardCount) {
  EXPECT_THAT(ShardOf(InProjection(), {.tp = {0, 3}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("mixer.in_proj.weight dim 0 block 0 has 4 entries for 3 shards of "
                                 "tp 3; nearest: tp 2")));
}

// Two KV groups of 8 q rows, 2 k and 2 v rows each.
ParameterSpec Qkv() {
  return {.name = "linear_qkv.weight",
          .shape = {24, 3},
          .dims = {{ShardAxis::kTp, {{8}, {2, /*whole=*/true}, {2, true}}, /*units=*/2}, {}}};
}

TEST(ShardTest, RanksOfOneUnitCutItsBlocksExceptWholeOnes) {
  EXPECT_EQ(ShardOf(Qkv(), {.tp = {1, 2}})->boxes,
            (std::vector{ShardBox{{12, 0}, {0, 0}, {12, 3}}}));
  const Shard quarter = ShardOf(Qkv(), {.tp = {3, 4}}).value();
  EXPECT_THAT(quarter.shape, testing::ElementsAre(8, 3));
  EXPECT_THAT(quarter.boxes, testing::ElementsAre(ShardBox{{16, 0}, {0, 0}, {4, 3}},
                                                  ShardBox{{20, 0}, {4, 0}, {2, 3}, 1, 2},
                                                  ShardBox{{22, 0}, {6, 0}, {2, 3}, 1, 2}));
}

TEST(ShardTest, UnitsAndAxisDivideOneAnother) {
  EXPECT_THAT(ShardOf(Qkv(), {.tp = {0, 3}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("linear_qkv.weight dim 0 has 2 units for 3 shards of tp 3; "
                                 "nearest: tp 2")));
  EXPECT_THAT(ShardOf(Qkv(), {.tp = {0, 32}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("linear_qkv.weight dim 0 block 0 has 8 entries for 16 shards of "
                                 "tp 32; nearest: tp 16")));
}

TEST(ShardTest, WhatNoAxisDividesIsReplicated) {
  const ParameterSpec norm{.name = "norm", .shape = {4}};
  EXPECT_THAT(ShardOf(norm, {.tp = {2, 4}, .ep = {1, 2}})->boxes,
              testing::ElementsAre(ShardBox{{0}, {0}, {4}, 2, 4}));
  const ParameterSpec experts{.name = "experts",
                              .shape = {4, 6},
                              .dims = {{ShardAxis::kEp}, {}},
                              .gradient_group = GradientGroup::kExpert};
  EXPECT_THAT(ShardOf(experts, {.tp = {2, 4}, .ep = {1, 2}, .expt_tp = {1, 2}})->boxes,
              testing::ElementsAre(ShardBox{{2, 0}, {0, 0}, {2, 6}, 1, 2}));
}

TEST(SharingTest, ElementsOfWholeBlocksHavePartialGradientsOnTheirHolders) {
  const ShardSpec last = {.tp = {3, 4}};
  EXPECT_THAT(SharedRuns(Qkv(), ShardOf(Qkv(), last).value()),
              testing::ElementsAre(SharedRun{0, 12}, SharedRun{12, 12, 1, 2, /*partial=*/true}));
  // A block that the columns are cut into is in every row.
  ParameterSpec columns = Qkv();
  columns.shape = {2, 24};
  std::swap(columns.dims[0], columns.dims[1]);
  EXPECT_THAT(SharedRuns(columns, ShardOf(columns, last).value()),
              testing::ElementsAre(SharedRun{0, 4}, SharedRun{4, 4, 1, 2, true}, SharedRun{8, 4},
                                   SharedRun{12, 4, 1, 2, true}));
  EXPECT_THAT(SharedRuns(InProjection(), ShardOf(InProjection(), {.tp = {1, 2}}).value()),
              testing::ElementsAre(SharedRun{0, 21}));
}

TEST(SharingTest, WhatEveryRankHoldsIsPartialWhereTheSpecSaysSo) {
  ParameterSpec norm{.name = "norm", .shape = {4}};
  EXPECT_THAT(SharedRuns(norm, ShardOf(norm, {.tp = {1, 2}}).value()),
              testing::ElementsAre(SharedRun{0, 4, 1, 2, /*partial=*/false}));
  norm.partial_over_tp = true;
  EXPECT_THAT(SharedRuns(norm, ShardOf(norm, {.tp = {1, 2}}).value()),
              testing::ElementsAre(SharedRun{0, 4, 1, 2, true}));
  EXPECT_THAT(SharedRuns(norm, ShardOf(norm, {}).value()), testing::ElementsAre(SharedRun{0, 4}));
}

TEST(TableTest, SharingThatSumsWouldMissIsRefused) {
  const auto message = [](std::vector<DimSharding> dims, GradientGroup group, bool partial) {
    return std::string(ParameterTable::Make({{.name = "w",
                                              .shape = {4, 4},
                                              .dims = std::move(dims),
                                              .gradient_group = group,
                                              .partial_over_tp = partial}})
                           .status()
                           .message());
  };
  constexpr GradientGroup kDense = GradientGroup::kDense, kExpert = GradientGroup::kExpert;
  EXPECT_EQ(message({{ShardAxis::kTp}, {ShardAxis::kTp}}, kDense, false),
            "w has two dims divided over tp");
  EXPECT_EQ(message({{ShardAxis::kEp}, {}}, kDense, false),
            "w is a dense parameter and divided over ep");
  EXPECT_EQ(message({{ShardAxis::kTp}, {}}, kExpert, false),
            "w is an expert's parameter and divided over tp");
  EXPECT_EQ(message({{ShardAxis::kExptTp, {{4, /*whole=*/true}}}, {}}, kExpert, false),
            "w is an expert's parameter with a whole block");
  EXPECT_EQ(message({}, kExpert, true), "w is an expert's parameter and partial over tp");
}

// The boxes of all ranks tile the logical tensor: every element exactly once.
class TilingTest : public testing::TestWithParam<int64_t> {};

TEST_P(TilingTest, InitialisationDoesNotDependOnTheLayout) {
  const int64_t ranks = GetParam();
  const ParameterSpec experts{.name = "mlp.experts.fc1",
                              .shape = {4, 6, 5},
                              .init = Init::Normal(1),
                              .dims = {{ShardAxis::kEp, {}}, {ShardAxis::kExptTp, {}}, {}}};
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({}, workspace);
  std::vector<float> whole(experts.num_elements());
  ASSERT_EQ(Initialize(experts, ShardOf(experts, {}).value(), 7,
                       TensorView(std::span(whole), {4, 6, 5}), stream),
            absl::OkStatus());
  std::vector<int> seen(whole.size(), 0);
  for (int64_t e = 0; e < ranks; ++e) {
    for (int64_t t = 0; t < 2; ++t) {
      const Shard shard = ShardOf(experts, {.ep = {e, ranks}, .expt_tp = {t, 2}}).value();
      std::vector<float> local(shard.shape[0] * shard.shape[1] * shard.shape[2], NAN);
      const TensorView view(local.data(), DType::kF32, shard.shape);
      ASSERT_EQ(Initialize(experts, shard, 7, view, stream), absl::OkStatus());
      for (const ShardBox& box : shard.boxes) {
        for (int64_t i = 0; i < box.extent[0]; ++i) {
          for (int64_t j = 0; j < box.extent[1]; ++j) {
            for (int64_t k = 0; k < box.extent[2]; ++k) {
              const int64_t at = ((box.logical_begin[0] + i) * 6 + box.logical_begin[1] + j) * 5 +
                                 box.logical_begin[2] + k;
              ++seen[at];
              EXPECT_EQ(view.At(box.local_begin[0] + i)
                            .At(box.local_begin[1] + j)
                            .data<float>()[box.local_begin[2] + k],
                        whole[at]);
            }
          }
        }
      }
    }
  }
  EXPECT_THAT(seen, testing::Each(1));
}

INSTANTIATE_TEST_SUITE_P(ExpertParallel, TilingTest, testing::Values(1, 2, 4));

TEST(TableTest, LayersOfAStageAscend) {
  EXPECT_THAT(ParameterTable::Make({{.name = "head", .shape = {1}, .layer = 2},
                                    {.name = "norm", .shape = {1}, .layer = 1}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("norm is of layer 1 and comes behind one of layer 2")));
  EXPECT_TRUE(ParameterTable::Make({{.name = "head", .shape = {1}, .layer = 2},
                                    {.name = "next", .shape = {1}, .stage = 1, .layer = 1}})
                  .ok());
}

TEST(TableTest, FindsByNameAndNamesTheNearest) {
  const absl::StatusOr<ParameterTable> table =
      ParameterTable::Make({{.name = "decoder.layers.0.norm.weight", .shape = {4}},
                            {.name = "output_layer.weight", .shape = {8, 4}, .stage = 1}});
  ASSERT_TRUE(table.ok());
  EXPECT_EQ(table->num_parameters(), 36);
  EXPECT_EQ(table->Stage(1).specs().size(), 1u);
  EXPECT_THAT(table->Find("decoder.layers.0.norm.bias"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("decoder.layers.0.norm.weight")));
  EXPECT_THAT(ParameterTable::Make({{.name = "a", .shape = {1}}, {.name = "a", .shape = {1}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a is registered twice")));
}

TEST(ParameterStoreTest, GradientsOverwriteFirstThenAccumulateAndUntouchedOnesBecomeZero) {
  const ParameterTable table =
      ParameterTable::Make({{.name = "w", .shape = {3, 5}},
                            {.name = "bias", .shape = {2}},
                            {.name = "expert_bias", .shape = {4}, .is_buffer = true},
                            {.name = "frozen", .shape = {6}, .trainable = false}})
          .value();
  MemoryLedger ledger;
  const auto store = ParameterStore::Create(table, {}, {}, ledger).value();
  ASSERT_EQ(store->groups().size(), 1u);
  const FlatGroup& group = store->groups()[0];
  ASSERT_EQ(group.segments.size(), 2u);
  EXPECT_EQ(group.segments[0].range, (ElementRange{64, 15}));
  EXPECT_EQ(group.segments[1].range, (ElementRange{0, 2}));
  EXPECT_EQ(group.gradients.num_elements(), 128);
  EXPECT_EQ(ledger.bytes(MemoryLabel::kMainGradients), 512);

  Parameter& w = *store->Find("w").value();
  Parameter& bias = *store->Find("bias").value();
  EXPECT_TRUE(store->Find("expert_bias").value()->gradient.is_null());
  EXPECT_TRUE(store->Find("frozen").value()->gradient.is_null());
  EXPECT_FALSE(w.AccumulateGradient());
  EXPECT_TRUE(w.AccumulateGradient());
  w.gradient.values<float>()[14] = 3;
  bias.gradient.values<float>()[1] = NAN;
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream({}, workspace);
  ASSERT_EQ(store->FinishGradients(stream), absl::OkStatus());
  EXPECT_EQ(w.gradient.values<float>()[14], 3);
  EXPECT_EQ(bias.gradient.values<float>()[1], 0);
  EXPECT_FALSE(w.AccumulateGradient());
}

TEST(ParameterStoreTest, StatesAreTheValuesOfParametersAndBuffers) {
  const ParameterTable table =
      ParameterTable::Make(
          {{.name = "w", .shape = {6, 5}, .dims = {{ShardAxis::kTp}, {}}},
           {.name = "expert_bias", .shape = {4}, .is_buffer = true},
           {.name = "experts.fc1", .shape = {4, 2}, .gradient_group = GradientGroup::kExpert}})
          .value();
  MemoryLedger ledger;
  const auto store =
      ParameterStore::Create(table, {.tp = {.rank = 1, .size = 2}}, {}, ledger).value();
  const std::vector<StateTensor> states = store->States(/*dense_replica=*/3, /*expert_replica=*/1);
  ASSERT_EQ(states.size(), 3u);
  EXPECT_EQ(states[0].name, "w");
  EXPECT_THAT(states[0].shape, testing::ElementsAre(6, 5));
  EXPECT_THAT(states[0].boxes, testing::ElementsAre(ShardBox{{3, 0}, {0, 0}, {3, 5}}));
  EXPECT_EQ(states[0].replica, 3);
  EXPECT_EQ(states[0].local.address(), store->Find("w").value()->value.address());
  EXPECT_EQ(states[1].name, "expert_bias");
  EXPECT_EQ(states[1].boxes[0].replicas, 2);
  EXPECT_EQ(states[1].replica, 3);
  EXPECT_EQ(states[2].replica, 1);
}

}  // namespace
}  // namespace hetero
