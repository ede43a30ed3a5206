#include "hetero/ckpt/load.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/match.h"
#include "hetero/ckpt/plan/box.h"
#include "hetero/ckpt/reader.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

using Path = std::filesystem::path;

// A checkpoint "/c" of w, w2, exp.weight and two objects.
class StoredTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const WholeTensor w("w", DType::kF32, {4, 8}), w2("w2", DType::kBF16, {5}),
        exp("exp.weight", DType::kF32, {2, 3, 2});
    CheckpointState state{.tensors = {w.tensor(), w2.tensor(), exp.tensor()}};
    state.objects = {{.name = "lin._extra_state/shard_0_1", .value = 1},
                     {.name = "language.rng_state/shard_0_1", .value = {{"seed", 5}}}};
    FillPattern(state.tensors);
    ASSERT_THAT(SaveAlone(storage_, "/c", state), IsOk());
  }

  absl::StatusOr<LoadReport> Load(CheckpointState& state, const LoadOptions& options = {}) {
    return LoadAlone(storage_, "/c", state, options);
  }

  // One byte of a file becomes another one.
  void Flip(const Path& path, int64_t at) {
    std::string bytes = ReadText(storage_, path).value();
    bytes.at(at) = static_cast<char>(bytes[at] ^ 4);
    ASSERT_THAT(WriteText(storage_, path, bytes), IsOk());
  }

  MemoryStorage storage_;
};

TEST_F(StoredTest, AnAbsentKeyIsAnErrorThatNamesTheNearest) {
  WholeTensor w("w", DType::kF32, {4, 8}), wanted("exp.weights", DType::kF32, {2});
  CheckpointState state{.tensors = {w.tensor(), wanted.tensor()}};
  FillValue(state.tensors, 7);
  EXPECT_THAT(Load(state), StatusIs(absl::StatusCode::kNotFound,
                                    AllOf(HasSubstr("exp.weights (ranks 0)"),
                                          HasSubstr("nearest stored: exp.weight,"))));
  EXPECT_EQ(w.Floats(), std::vector<float>(32, 7)) << "nothing is changed";
}

TEST_F(StoredTest, OnlyExtraStateMayBeAbsentUnasked) {
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

TEST_F(StoredTest, WhatNobodyWantsIsListedOrRefused) {
  WholeTensor w("w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()}};
  const absl::StatusOr<LoadReport> report = Load(state);
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->unused, UnorderedElementsAre("w2", "exp.weight", "lin._extra_state/shard_0_1",
                                                   "language.rng_state/shard_0_1"));
  EXPECT_THAT(Load(state, {.refuse_unused = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("exp.weight")));
}

TEST_F(StoredTest, APatternLetsAbsentKeysKeepTheirValues) {
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

TEST_F(StoredTest, WhatIsOptionalIsReadWhereItIs) {
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

TEST_F(StoredTest, AKeyThatOneRankWantsAloneIsTheErrorOfAllAtOnce) {
  const absl::Time start = absl::Now();
  EXPECT_THAT(RunWorld(3,
                       [&](RankInWorld world) -> absl::Status {
                         WholeTensor w("w", DType::kF32, {4, 8}), other("zzz", DType::kF32, {2});
                         CheckpointState state{.tensors = {w.tensor()}};
                         if (world.rank == 1) state.tensors.push_back(other.tensor());
                         EXPECT_THAT(
                             hetero::Load(storage_, "/c", state, world.exchange, {}, world.stream),
                             StatusIs(absl::StatusCode::kNotFound, HasSubstr("zzz (ranks 1)")));
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(StoredTest, ShapesAndTypesThatDifferAreNamedTogether) {
  WholeTensor w("w", DType::kF32, {6, 8}), w2("w2", DType::kF32, {5});
  CheckpointState state{.tensors = {w.tensor(), w2.tensor()}};
  EXPECT_THAT(Load(state),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("w has shape [4,8] in the checkpoint and [6,8]"),
                             HasSubstr("w2 is bf16 in the checkpoint and f32"))));
}

TEST_F(StoredTest, TypesAreCastWhenAsked) {
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

TEST_F(StoredTest, ObjectsComeBackAsTheyWere) {
  CheckpointState state{.objects = {{.name = "language.rng_state/shard_0_1"}}};
  ASSERT_THAT(Load(state), IsOk());
  EXPECT_EQ(state.objects[0].value, (nlohmann::json{{"seed", 5}}));
}

TEST_F(StoredTest, WrappersOfTheWriterAreNoPartOfAKey) {
  WholeTensor w("module.module.w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()}};
  ASSERT_THAT(Load(state), IsOk());
  WholeTensor plain("w", DType::kF32, {4, 8});
  FillPattern({{plain.tensor()}});
  EXPECT_EQ(w.Floats(), plain.Floats());
}

TEST_F(StoredTest, AFlippedBitOfAPayloadIsNamed) {
  const Manifest manifest = ParseManifest(ReadText(storage_, "/c/manifest.json").value()).value();
  const ManifestChunk& chunk = manifest.tensors.at("w").chunks[0];
  const std::string name = manifest.files[chunk.file].name;
  Flip(Path("/c") / name, chunk.offset + 3);
  WholeTensor w("w", DType::kF32, {4, 8}), w2("w2", DType::kBF16, {5});
  CheckpointState state{.tensors = {w.tensor()}}, other{.tensors = {w2.tensor()}};
  EXPECT_THAT(
      Load(state),
      StatusIs(absl::StatusCode::kDataLoss,
               AllOf(HasSubstr(name), HasSubstr("w [0,0]+[4,8]"), HasSubstr("block 0"),
                     HasSubstr(absl::StrCat("offset ", chunk.offset)), HasSubstr("b265c596"))));
  EXPECT_THAT(Load(other), IsOk()) << "blocks that nobody reads are nobody's concern";
}

TEST_F(StoredTest, WhatStandsAroundAPayloadIsNotRead) {
  Flip("/c/__0_0.distcp", std::ssize(ReadText(storage_, "/c/__0_0.distcp").value()) - 1);
  WholeTensor w("w", DType::kF32, {4, 8}), exp("exp.weight", DType::kF32, {2, 3, 2});
  CheckpointState state{.tensors = {w.tensor(), exp.tensor()}};
  ASSERT_THAT(Load(state), IsOk());
  EXPECT_EQ(PatternDifference(state.tensors), "");
}

TEST_F(StoredTest, FilesOfAnotherSizeAndAbsentOnesAreNamed) {
  const Manifest manifest = ParseManifest(ReadText(storage_, "/c/manifest.json").value()).value();
  const Path path = Path("/c") / manifest.files[manifest.tensors.at("w").chunks[0].file].name;
  const std::string bytes = ReadText(storage_, path).value();
  WholeTensor w("w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()}};
  for (const std::string& other : {bytes.substr(0, bytes.size() - 1), std::string(), bytes + "x"}) {
    ASSERT_THAT(WriteText(storage_, path, other), IsOk());
    EXPECT_THAT(Load(state),
                StatusIs(absl::StatusCode::kDataLoss,
                         AllOf(HasSubstr(path.filename().string()), HasSubstr("w"),
                               HasSubstr(absl::StrCat("has ", other.size(), " bytes")))));
  }
  ASSERT_THAT(storage_.Remove(path), IsOk());
  EXPECT_THAT(Load(state),
              StatusIs(absl::StatusCode::kDataLoss,
                       AllOf(HasSubstr(path.filename().string()), HasSubstr("w: is missing"))));
}

TEST_F(StoredTest, WithoutItsManifestADirectoryIsForeign) {
  ASSERT_THAT(storage_.Remove("/c/manifest.json"), IsOk());
  WholeTensor w("w", DType::kF32, {4, 8}), exp("exp.weight", DType::kF32, {2, 3, 2});
  CheckpointState state{.tensors = {w.tensor(), exp.tensor()},
                        .objects = {{.name = "language.rng_state/shard_0_1"}}};
  EXPECT_THAT(Load(state),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("written by others")));
  const absl::StatusOr<LoadReport> report = Load(state, {.foreign = true});
  ASSERT_THAT(report, IsOk());
  EXPECT_TRUE(report->foreign);
  EXPECT_EQ(PatternDifference(state.tensors), "");
  EXPECT_EQ(state.objects[0].value["seed"], 5);
}

TEST_F(StoredTest, RowsOfPaddingInFilesOfOthersAreLeftOut) {
  ASSERT_THAT(storage_.Remove("/c/manifest.json"), IsOk());
  WholeTensor w("w", DType::kF32, {3, 8});
  CheckpointTensor vocabulary = w.tensor();
  vocabulary.padded_rows = true;
  CheckpointState state{.tensors = {vocabulary}};
  ASSERT_THAT(Load(state, {.foreign = true}), IsOk());
  EXPECT_EQ(PatternDifference(state.tensors), "");
  WholeTensor longer("w", DType::kF32, {5, 8});
  state.tensors = {longer.tensor()};
  state.tensors[0].padded_rows = true;
  EXPECT_THAT(Load(state, {.foreign = true}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[5,8]")));
}

// Each byte is read by one rank, and what that one finds is the error of all.
TEST_F(StoredTest, DamageThatOneRankReadsStopsAll) {
  const Manifest manifest = ParseManifest(ReadText(storage_, "/c/manifest.json").value()).value();
  const ManifestChunk& chunk = manifest.tensors.at("w").chunks[0];
  Flip(Path("/c") / manifest.files[chunk.file].name, chunk.offset);
  std::vector<std::string> messages(3);
  EXPECT_THAT(
      RunWorld(3,
               [&](RankInWorld world) -> absl::Status {
                 WholeTensor w("w", DType::kF32, {4, 8});
                 CheckpointState state{.tensors = {w.tensor()}};
                 const absl::Status status =
                     hetero::Load(storage_, "/c", state, world.exchange, {}, world.stream).status();
                 EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss));
                 messages[world.rank] = status.message();
                 return absl::OkStatus();
               }),
      IsOk());
  EXPECT_THAT(messages[0], HasSubstr("rank 0: "));
  EXPECT_EQ(messages[1], messages[0]);
  EXPECT_EQ(messages[2], messages[0]);
}

TEST_F(StoredTest, AReadThatFailsIsNamed) {
  FaultStorage storage(storage_, [](const StorageCall& call) -> StorageFault {
    const bool hit =
        call.operation == StorageOperation::kRead && call.path.extension() == ".distcp";
    return {.kind = hit ? StorageFault::Kind::kError : StorageFault::Kind::kNone};
  });
  WholeTensor w("w", DType::kF32, {4, 8});
  CheckpointState state{.tensors = {w.tensor()}};
  const absl::Status status = LoadAlone(storage, "/c", state).status();
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(".distcp"), HasSubstr("w [0,0]")));
}

// Elements are counted when they are written: what an index leaves out is missing from the count.
TEST_F(StoredTest, ASkippedBoxShowsInTheCount) {
  CheckpointIndex index = ParseIndexBytes(ReadIndexBytes(storage_, "/c", false).value()).value();
  IndexedTensor& stored = index.tensors.at("w");
  WholeTensor w("w", DType::kF32, {4, 8});
  const auto filled = [&] {
    int64_t count = 0;
    const CheckpointTensor::Piece& piece = w.tensor().pieces[0];
    EXPECT_THAT(ReadTargets(storage_, "/c", index,
                            {{.target = {&stored, "w", piece.box, piece.local}, .filled = &count}},
                            1, Device{}),
                IsOk());
    return count;
  };
  EXPECT_EQ(filled(), 32);
  stored.chunks.clear();
  EXPECT_EQ(filled(), 0);
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

TEST(LoadTest, ScalarsAndEmptyTensorsComeBack) {
  MemoryStorage storage;
  WholeTensor scalar("s", DType::kF32, {}), empty("e", DType::kF32, {0, 3});
  CheckpointState state{.tensors = {scalar.tensor(), empty.tensor()}};
  FillPattern({{scalar.tensor()}});
  ASSERT_THAT(SaveAlone(storage, "/c", state), IsOk());
  FillValue({{scalar.tensor()}}, 99);
  ASSERT_THAT(LoadAlone(storage, "/c", state), IsOk());
  EXPECT_EQ(PatternDifference({{scalar.tensor()}}), "");
}

TEST(LoadTest, StackedLayersAndLayersOfTheirOwnAnswerEachOther) {
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

TEST(LoadTest, OlderWordsForMastersAreUnderstood) {
  MemoryStorage storage;
  WholeTensor stored("optimizer.state.fp32_param.w", DType::kF32, {2}),
      wanted("optimizer.state.param.w", DType::kF32, {2});
  FillPattern({{stored.tensor()}});
  ASSERT_THAT(SaveAlone(storage, "/c", {.tensors = {stored.tensor()}}), IsOk());
  CheckpointState state{.tensors = {wanted.tensor()}};
  ASSERT_THAT(LoadAlone(storage, "/c", state), IsOk());
  EXPECT_EQ(wanted.Floats(), stored.Floats());
}

// Of 12 MiB in one chunk, rows of the second block alone.
TEST(LoadTest, BlocksWithoutWantedElementsAreNotRead) {
  MemoryStorage storage;
  WholeTensor whole("k", DType::kF32, {3072, 1024});
  FillPattern({{whole.tensor()}});
  ASSERT_THAT(SaveAlone(storage, "/c", {.tensors = {whole.tensor()}}), IsOk());
  WholeTensor rows("k", DType::kF32, {100, 1024});
  CheckpointTensor part = rows.tensor();
  part.shape = {3072, 1024};
  part.pieces[0].box.offset[0] = 1500;
  CheckpointState state{.tensors = {part}};
  const absl::StatusOr<LoadReport> report = LoadAlone(storage, "/c", state);
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->bytes_read, 4 << 20);
  EXPECT_EQ(PatternDifference(state.tensors), "");
}

}  // namespace
}  // namespace hetero
