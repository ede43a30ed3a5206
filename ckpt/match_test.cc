#include "hetero/ckpt/match.h"

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/name_pattern.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/stored_test.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

using StoredMatchTest = StoredTest;

TEST_F(StoredMatchTest, AnAbsentKeyIsAnErrorThatNamesTheNearest) {
  WholeTensor w("w", DType::kF32, {4, 8}), wanted("exp.weights", DType::kF32, {2});
  CheckpointState state{.tensors = {w.tensor(), wanted.tensor()}};
  FillValue(state.tensors, 7);
  EXPECT_THAT(Load(state), StatusIs(absl::StatusCode::kNotFound,
                                    AllOf(HasSubstr("exp.weights (ranks 0)"),
                                          HasSubstr("nearest stored: exp.weight,"))));
  EXPECT_EQ(w.Floats(), std::vector<float>(32, 7)) << "nothing is changed";
}

// Files of earlier releases have masters as flat parts, and those of the distributed optimizer have
// no parameters at all.
TEST(MatchTest, StateThatIsNotByParameterIsRefusedWithTheReason) {
  MemoryStorage storage;
  const WholeTensor w("w", DType::kF32, {4, 8}),
      flat("optimizer.state.fp32_param.w", DType::kF32, {2, 1, 16}),
      bucket("optimizer.distributed.dp_group_idx_0.gbuf_idx_0.dtype_(f, f).bucket_idx_0.exp_avg",
             DType::kF32, {32});
  CheckpointState stored{.tensors = {w.tensor(), flat.tensor(), bucket.tensor()}};
  FillPattern(stored.tensors);
  ASSERT_THAT(SaveAlone(storage, "/c", stored), IsOk());
  ASSERT_THAT(storage.Remove("/c/manifest.json"), IsOk());
  const LoadOptions options{.foreign = true};
  CheckpointState weights{.tensors = {w.tensor()}};
  FillValue(weights.tensors, 7);
  EXPECT_THAT(LoadAlone(storage, "/c", weights, options), IsOk());
  EXPECT_EQ(PatternDifference(weights.tensors), "");
  const WholeTensor master("optimizer.state.param.w", DType::kF32, {4, 8}),
      moment("optimizer.state.exp_avg.w", DType::kF32, {4, 8});
  CheckpointState masters{.tensors = {w.tensor(), master.tensor()}};
  EXPECT_THAT(LoadAlone(storage, "/c", masters, options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("optimizer.state.param.w has shape [2,1,16] in the checkpoint and "
                                 "[4,8] in this model")));
  CheckpointState moments{.tensors = {w.tensor(), moment.tensor()}};
  EXPECT_THAT(LoadAlone(storage, "/c", moments, options),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("optimizer.state.exp_avg.w (ranks 0)"),
                             HasSubstr("dp_reshardable"), HasSubstr("convert --buckets"))));
}

TEST_F(StoredMatchTest, OnlyExtraStateMayBeAbsentUnasked) {
  WholeTensor w("w", DType::kF32, {4, 8}), extra("lin2._extra_state", DType::kF32, {1}),
      weight("extra_state_proj.weight", DType::kF32, {1});
  CheckpointState state{.tensors = {w.tensor(), extra.tensor()}};
  const absl::StatusOr<LoadReport> report = Load(state);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->kept, ElementsAre("lin2._extra_state"));
  EXPECT_EQ(PatternDifference({{w.tensor()}}), "");
  state.tensors.push_back(weight.tensor());
  EXPECT_THAT(Load(state),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("extra_state_proj.weight")));
}

TEST_F(StoredMatchTest, WhatNobodyWantsIsListedOrRefused) {
  WholeTensor w("w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()}};
  const absl::StatusOr<LoadReport> report = Load(state);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->unused, UnorderedElementsAre("w2", "exp.weight", "lin._extra_state/shard_0_1",
                                                   "language.rng_state/shard_0_1"));
  EXPECT_THAT(Load(state, {.refuse_unused = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("exp.weight")));
}

TEST_F(StoredMatchTest, APatternLetsAbsentKeysKeepTheirValues) {
  WholeTensor w("w", DType::kF32, {4, 8}), kept("optimizer.exp_avg.zzz", DType::kF32, {2});
  CheckpointState state{.tensors = {w.tensor(), kept.tensor()},
                        .objects = {{.name = "optimizer.step/shard_0_1", .value = 3}}};
  FillValue(state.tensors, 7);
  const absl::StatusOr<LoadReport> report = Load(state, {.allow_missing = {"optimizer.*"}});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->kept, ElementsAre("optimizer.exp_avg.zzz", "optimizer.step/shard_0_1"));
  EXPECT_EQ(report->ToJson()["kept_initial_values"].size(), 2u);
  EXPECT_EQ(kept.Floats(), std::vector<float>(2, 7));
  EXPECT_EQ(state.objects[0].value, 3);
  EXPECT_EQ(PatternDifference({{w.tensor()}}), "");
  EXPECT_THAT(Load(state, {.allow_missing = {"optimizer.*", "other"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"other\"")));
}

TEST_F(StoredMatchTest, WhatIsOptionalIsReadWhereItIs) {
  WholeTensor w("w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()},
                        .objects = {{.name = "language.rng_state/shard_0_1"},
                                    {.name = "optimizer.groups/shard_0_1", .value = 3}}};
  const absl::StatusOr<LoadReport> report =
      Load(state, {.optional = {"*.rng_state/*", "optimizer.groups/*", "other"}});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->kept, ElementsAre());
  EXPECT_EQ(state.objects[0].value["seed"], 5);
  EXPECT_EQ(state.objects[1].value, 3);
}

TEST_F(StoredMatchTest, AKeyThatOneRankWantsAloneIsTheErrorOfAllAtOnce) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(RunWorld(3,
                       [&](RankInWorld world) -> absl::Status {
                         WholeTensor w("w", DType::kF32, {4, 8}), other("zzz", DType::kF32, {2});
                         CheckpointState state{.tensors = {w.tensor()}};
                         if (world.rank == 1) state.tensors.push_back(other.tensor());
                         EXPECT_THAT(
                             hetero::Load(storage_, "/c", state, world.exchange, {}, world.stream,
                                          world.memory),
                             StatusIs(absl::StatusCode::kNotFound, HasSubstr("zzz (ranks 1)")));
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(StoredMatchTest, ShapesAndTypesThatDifferAreNamedTogether) {
  WholeTensor w("w", DType::kF32, {6, 8}), w2("w2", DType::kF32, {5});
  CheckpointState state{.tensors = {w.tensor(), w2.tensor()}};
  EXPECT_THAT(Load(state),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("w has shape [4,8] in the checkpoint and [6,8]"),
                             HasSubstr("w2 is bf16 in the checkpoint and f32"))));
}

TEST_F(StoredMatchTest, TypesAreCastWhenAsked) {
  WholeTensor w("w", DType::kBF16, {4, 8}), w2("w2", DType::kF32, {5});
  CheckpointState state{.tensors = {w.tensor(), w2.tensor()}};
  const absl::StatusOr<LoadReport> report = Load(state, {.cast = true});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->cast, ElementsAre("w: f32 -> bf16", "w2: bf16 -> f32"));
  EXPECT_EQ(PatternDifference(state.tensors), "");
  WholeTensor integers("w", DType::kI32, {4, 8});
  CheckpointState other{.tensors = {integers.tensor()}};
  EXPECT_THAT(Load(other, {.cast = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("i32")));
}

TEST_F(StoredMatchTest, WrappersOfTheWriterAreNoPartOfAKey) {
  WholeTensor w("module.module.w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()}};
  ASSERT_THAT(Load(state), IsOk());
  WholeTensor plain("w", DType::kF32, {4, 8});
  FillPattern({{plain.tensor()}});
  EXPECT_EQ(w.Floats(), plain.Floats());
}

TEST(MatchTest, PatternsHaveStarsAndQuestionMarks) {
  EXPECT_TRUE(MatchesPattern("a.b.c", "a.*"));
  EXPECT_TRUE(MatchesPattern("a.b.c", "*b*c"));
  EXPECT_TRUE(MatchesPattern("a.b.c", "a.?.c"));
  EXPECT_TRUE(MatchesPattern("", "*"));
  EXPECT_FALSE(MatchesPattern("a.b.c", "a.b"));
  EXPECT_FALSE(MatchesPattern("a.b.c", "b*"));
  EXPECT_FALSE(MatchesPattern("a.b.c", "a.b.c?"));
}

TEST(MatchTest, StackedLayersAndLayersOfTheirOwnAnswerEachOther) {
  MemoryStorage storage;
  WholeTensor stacked("module.decoder.layers.x", DType::kF32, {3, 2, 2});
  FillPattern({{stacked.tensor()}});
  ASSERT_THAT(SaveAlone(storage, "/stacked", {.tensors = {stacked.tensor()}}), IsOk());
  std::vector<WholeTensor> layers;
  CheckpointState state;
  for (int i = 0; i < 3; ++i) {
    layers.emplace_back(absl::StrCat("decoder.layers.", i, ".x"), DType::kF32,
                        std::vector<int64_t>{2, 2});
  }
  for (const WholeTensor& layer : layers) state.tensors.push_back(layer.tensor());
  ASSERT_THAT(LoadAlone(storage, "/stacked", state), IsOk());
  const std::vector<float> values = stacked.Floats();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(layers[i].Floats(),
              std::vector<float>(values.begin() + 4 * i, values.begin() + 4 * i + 4));
  }
  WholeTensor beyond("decoder.layers.3.x", DType::kF32, {2, 2});
  CheckpointState absent{.tensors = {beyond.tensor()}};
  EXPECT_THAT(LoadAlone(storage, "/stacked", absent),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("decoder.layers.3.x")));

  ASSERT_THAT(SaveAlone(storage, "/layers", state), IsOk());
  FillValue({{stacked.tensor()}}, 99);
  CheckpointState whole{.tensors = {stacked.tensor()}};
  ASSERT_THAT(LoadAlone(storage, "/layers", whole), IsOk());
  EXPECT_EQ(stacked.Floats(), values);
  // Two of the rows, as a pipeline stage has them.
  WholeTensor some("decoder.layers.x", DType::kF32, {3, 2, 2});
  CheckpointTensor part = some.tensor();
  part.pieces = {
      {.box = {{1, 0, 1}, {2, 2, 1}}, .local = part.pieces[0].local.Slice(0, 1, 2).Slice(2, 1, 1)}};
  CheckpointState stage{.tensors = {part}};
  ASSERT_THAT(LoadAlone(storage, "/layers", stage), IsOk());
  const std::vector<float> of_stage = some.Floats();
  for (int i = 0; i < 12; ++i) {
    EXPECT_EQ(of_stage[i], i >= 4 && i % 2 == 1 ? values[i] : 0) << i;
  }
}

TEST(MatchTest, OlderWordsForMastersAreUnderstood) {
  MemoryStorage storage;
  WholeTensor stored("optimizer.state.fp32_param.w", DType::kF32, {2}),
      wanted("optimizer.state.param.w", DType::kF32, {2});
  FillPattern({{stored.tensor()}});
  ASSERT_THAT(SaveAlone(storage, "/c", {.tensors = {stored.tensor()}}), IsOk());
  CheckpointState state{.tensors = {wanted.tensor()}};
  ASSERT_THAT(LoadAlone(storage, "/c", state), IsOk());
  EXPECT_EQ(wanted.Floats(), stored.Floats());
}

}  // namespace
}  // namespace hetero
