#include "hetero/ckpt/load.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/checkpoint_index.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/reader.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/stored_test.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Path = std::filesystem::path;

TEST_F(StoredTest, ObjectsComeBackAsTheyWere) {
  CheckpointState state{.objects = {{.name = "language.rng_state/shard_0_1"}}};
  ASSERT_THAT(Load(state), IsOk());
  EXPECT_EQ(state.objects[0].value, (nlohmann::json{{"seed", 5}}));
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
  EXPECT_THAT(RunWorld(3,
                       [&](RankInWorld world) -> absl::Status {
                         WholeTensor w("w", DType::kF32, {4, 8});
                         CheckpointState state{.tensors = {w.tensor()}};
                         const absl::Status status =
                             hetero::Load(storage_, "/c", state, world.exchange, {}, world.stream,
                                          world.memory)
                                 .status();
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
                            1, Device{}, memory_),
                IsOk());
    return count;
  };
  EXPECT_EQ(filled(), 32);
  stored.chunks.clear();
  EXPECT_EQ(filled(), 0);
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
