#include "hetero/ckpt/save.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/f0.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

SaveOptions At(int64_t iteration) { return {.save_id = "s", .iteration = iteration}; }

Manifest ManifestOf(Storage& storage, const std::filesystem::path& directory) {
  return ParseManifest(ReadText(storage, directory / kManifestName).value()).value();
}

TEST(SaveTest, ChecksumsAreThoseOfThePattern) {
  MemoryStorage storage;
  const F0 f0;
  ASSERT_THAT(SaveAlone(storage, "/c", f0.state), IsOk());
  const Manifest manifest = ManifestOf(storage, "/c");
  ASSERT_EQ(manifest.tensors.at("w").chunks.size(), 1u);
  EXPECT_EQ(manifest.tensors.at("w").chunks[0].crc32, 0xb265c596u);
  EXPECT_EQ(manifest.tensors.at("w").chunks[0].offset % 4096, 0);
  EXPECT_EQ(manifest.iteration, 10);
  EXPECT_TRUE(manifest.objects.contains("obj/shard_0_1"));
  EXPECT_THAT(
      storage.List("/c"),
      IsOkAndHolds(ElementsAre(".metadata", "COMMIT", "__0_0.distcp", "__0_1.distcp", "common.pt",
                               "manifest.crc", "manifest.json", "metadata.json")));
  // The files are as long as the manifest says, and their bytes have its checksums.
  for (const ManifestFile& file : manifest.files) {
    const std::string bytes = ReadText(storage, std::filesystem::path("/c") / file.name).value();
    EXPECT_EQ(std::ssize(bytes), file.bytes) << file.name;
    EXPECT_EQ(Crc32(AsBytes(bytes)), file.crc32) << file.name;
  }
}

TEST(SaveTest, ARankWithNothingToWriteMakesNoFile) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  ASSERT_THAT(RunWorld(3,
                       [&](RankInWorld world) -> absl::Status {
                         const F0 f0;
                         const CheckpointState none;
                         return Save(storage, "/c", world.rank == 1 ? f0.state : none,
                                     world.exchange, At(1), world.stream, world.memory)
                             .status();
                       }),
              IsOk());
  const std::vector<std::string> names = storage.List("/c").value();
  EXPECT_THAT(names, ::testing::Contains("__1_0.distcp"));
  EXPECT_THAT(names, Not(::testing::Contains(HasSubstr("__0_"))));
  EXPECT_THAT(names, Not(::testing::Contains(HasSubstr("__2_"))));
}

TEST(SaveTest, LongTensorsAreCutAndReadBack) {
  MemoryStorage storage;
  WholeTensor long_tensor("long", DType::kF32, {50, 100});
  const CheckpointState state{.tensors = {long_tensor.tensor()}};
  FillPattern(state.tensors);
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  ASSERT_THAT(RunWorld(1,
                       [&](RankInWorld world) -> absl::Status {
                         SaveOptions options = At(1);
                         options.max_chunk_bytes = 8000;
                         return Save(storage, "/c", state, world.exchange, options, world.stream,
                                     world.memory)
                             .status();
                       }),
              IsOk());
  ASSERT_THAT(Commit(storage, "/c"), IsOk());
  EXPECT_EQ(ManifestOf(storage, "/c").tensors.at("long").chunks.size(), 3u);
  FillValue(state.tensors, 0);
  CheckpointState target = state;
  ASSERT_THAT(LoadAlone(storage, "/c", target), IsOk());
  EXPECT_EQ(PatternDifference(state.tensors), "");
}

TEST(SaveTest, WhatIsWrongWithThePlanIsKnownBeforeAFileIsMade) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  EXPECT_THAT(RunWorld(2,
                       [&](RankInWorld world) -> absl::Status {
                         const F0 f0;
                         const absl::Status status = Save(storage, "/c", f0.state, world.exchange,
                                                          At(1), world.stream, world.memory)
                                                         .status();
                         EXPECT_THAT(status,
                                     StatusIs(absl::StatusCode::kInvalidArgument,
                                              AllOf(HasSubstr("overlap"), HasSubstr("rank 0"),
                                                    HasSubstr("rank 1"))));
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_THAT(storage.List("/c"), IsOkAndHolds(IsEmpty()));
}

// As where the optimizers of ranks have done different numbers of updates.
TEST(SaveTest, RanksThatDoNotAgreeOnTheStateAreNamedBeforeAnyFile) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  EXPECT_THAT(
      RunWorld(2,
               [&](RankInWorld world) -> absl::Status {
                 SaveOptions options = At(1);
                 options.agreed = absl::StrCat("after ", 7 - world.rank, " updates");
                 EXPECT_THAT(
                     Save(storage, "/c", {}, world.exchange, options, world.stream, world.memory),
                     StatusIs(absl::StatusCode::kInvalidArgument,
                              AllOf(HasSubstr("rank 0 saves iteration 1 after 7 updates"),
                                    HasSubstr("rank 1 iteration 1 after 6 updates"))));
                 return absl::OkStatus();
               }),
      IsOk());
  EXPECT_THAT(storage.List("/c"), IsOkAndHolds(IsEmpty()));
}

TEST(SaveTest, RanksThatSaveDifferentThingsAreNamed) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  EXPECT_THAT(RunWorld(2,
                       [&](RankInWorld world) -> absl::Status {
                         const CheckpointState none;
                         EXPECT_THAT(Save(storage, "/c", none, world.exchange, At(world.rank),
                                          world.stream, world.memory),
                                     StatusIs(absl::StatusCode::kInvalidArgument,
                                              AllOf(HasSubstr("rank 0 saves iteration 0"),
                                                    HasSubstr("rank 1 iteration 1"))));
                         SaveOptions options = At(2);
                         if (world.rank == 1) options.common = {{"encoder", 1}};
                         EXPECT_THAT(Save(storage, "/c", none, world.exchange, options,
                                          world.stream, world.memory),
                                     StatusIs(absl::StatusCode::kInvalidArgument,
                                              HasSubstr("rank 1 has common state")));
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_THAT(storage.List("/c"), IsOkAndHolds(IsEmpty()));
}

TEST(SaveTest, AFullDiskIsTheFailureOfTheSave) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  storage.set_capacity(100);
  const F0 f0;
  EXPECT_THAT(SaveAlone(storage, "/c", f0.state),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("__0_")));
  EXPECT_FALSE(storage.Exists("/c/manifest.json"));
}

TEST(SaveTest, AFailureOfOneRankIsThatOfAllAndTheNextSaveSucceeds) {
  MemoryStorage base;
  std::atomic<bool> broken = true;
  FaultStorage storage(base, [&](const StorageCall& call) -> StorageFault {
    const bool hit = broken && call.operation == StorageOperation::kWrite &&
                     call.path.string().find("__1_") != std::string::npos;
    return {.kind = hit ? StorageFault::Kind::kError : StorageFault::Kind::kNone, .error = EIO};
  });
  const ModelLayout layout{{.tp = 2}, {.tp = 2}};
  ASSERT_THAT(storage.MakeDirectory("/1"), IsOk());
  ASSERT_THAT(storage.MakeDirectory("/2"), IsOk());
  ASSERT_THAT(
      RunWorld(2,
               [&](RankInWorld world) -> absl::Status {
                 SmallModel model(layout, world.rank);
                 FillPattern(model.state().tensors);
                 Saver saver(storage, world.exchange, world.memory);
                 HETERO_RETURN_IF_ERROR(saver.Begin("/1", model.state(), At(1), world.stream));
                 saver.AwaitCopied();
                 EXPECT_THAT(saver.Finish(),
                             StatusIs(absl::StatusCode::kResourceExhausted,
                                      AllOf(HasSubstr("rank 1"), HasSubstr("__1_"))));
                 HETERO_RETURN_IF_ERROR(world.exchange.Agree(absl::OkStatus(), "both"));
                 broken = false;
                 HETERO_RETURN_IF_ERROR(world.exchange.Agree(absl::OkStatus(), "mended"));
                 HETERO_RETURN_IF_ERROR(saver.Begin("/2", model.state(), At(2), world.stream));
                 HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
                 EXPECT_TRUE(report.plan_cached);
                 return absl::OkStatus();
               }),
      IsOk());
  EXPECT_FALSE(base.Exists("/1/manifest.json"));
  EXPECT_TRUE(base.Exists("/2/manifest.json"));
}

TEST(SaveTest, ASaveThatIsGivenUpEndsSoonAndTheNextOneIsWhole) {
  MemoryStorage base;
  absl::Notification given_up;
  FaultStorage storage(base, [&](const StorageCall& call) -> StorageFault {
    if (call.operation == StorageOperation::kWrite) given_up.WaitForNotification();
    return {};
  });
  ASSERT_THAT(storage.MakeDirectory("/1"), IsOk());
  ASSERT_THAT(storage.MakeDirectory("/2"), IsOk());
  const F0 f0;
  ASSERT_THAT(RunWorld(2,
                       [&](RankInWorld world) -> absl::Status {
                         CheckpointState state;
                         if (world.rank == 0) state = f0.state;
                         Saver saver(storage, world.exchange, world.memory);
                         HETERO_RETURN_IF_ERROR(saver.Begin("/1", state, At(1), world.stream));
                         saver.Cancel(absl::DeadlineExceededError("no time is left"));
                         saver.AwaitCopied();
                         if (world.rank == 0) given_up.Notify();
                         EXPECT_THAT(saver.Finish(), StatusIs(absl::StatusCode::kDeadlineExceeded,
                                                              HasSubstr("no time is left")));
                         HETERO_RETURN_IF_ERROR(saver.Begin("/2", state, At(2), world.stream));
                         return saver.Finish().status();
                       }),
              IsOk());
  EXPECT_FALSE(base.Exists("/1/manifest.json"));
  ASSERT_THAT(Commit(base, "/2"), IsOk());
  F0 loaded;
  FillValue(loaded.state.tensors, 0);
  ASSERT_THAT(LoadAlone(base, "/2", loaded.state), IsOk());
  EXPECT_EQ(PatternDifference(loaded.state.tensors), "");
}

TEST(SaveTest, APlanIsKeptUntilTheStructureOfAnyRankChanges) {
  MemoryStorage storage;
  const ModelLayout layout{{.tp = 2}, {.tp = 2}};
  for (const char* directory : {"/1", "/2", "/3"}) {
    ASSERT_THAT(storage.MakeDirectory(directory), IsOk());
  }
  ASSERT_THAT(RunWorld(2,
                       [&](RankInWorld world) -> absl::Status {
                         SmallModel model(layout, world.rank);
                         WholeTensor added("added", DType::kF32, {3});
                         Saver saver(storage, world.exchange, world.memory);
                         const auto cached = [&](const char* directory) -> absl::StatusOr<bool> {
                           HETERO_RETURN_IF_ERROR(
                               saver.Begin(directory, model.state(), At(1), world.stream));
                           HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
                           return report.plan_cached;
                         };
                         EXPECT_THAT(cached("/1"), IsOkAndHolds(false));
                         EXPECT_THAT(cached("/2"), IsOkAndHolds(true));
                         if (world.rank == 1) model.state().tensors.push_back(added.tensor());
                         EXPECT_THAT(cached("/3"), IsOkAndHolds(false));
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_FALSE(ManifestOf(storage, "/2").tensors.contains("added"));
  EXPECT_TRUE(ManifestOf(storage, "/3").tensors.contains("added"));
}

}  // namespace
}  // namespace hetero
