#include "hetero/ckpt/save.h"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/ckpt/format/crc32.h"
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/load.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/small_model.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/arena.h"
#include "hetero/tensor/stream.h"

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

// w f32 [4,8], b bf16 [5] and an object.
struct F0 {
  WholeTensor w{"w", DType::kF32, {4, 8}};
  WholeTensor b{"b", DType::kBF16, {5}};
  CheckpointState state{
      .tensors = {w.tensor(), b.tensor()},
      .objects = {{.name = ObjectName("obj").value(), .value = {{"seed", 1}, {"list", {1, 2}}}}}};

  F0() { FillPattern(state.tensors); }
};

Manifest ManifestOf(Storage& storage, const std::filesystem::path& directory) {
  return ParseManifest(ReadText(storage, directory / kManifestName).value()).value();
}

std::string ManifestTextOf(Storage& storage, const std::filesystem::path& directory) {
  return ReadText(storage, directory / kManifestName).value();
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
                                     world.exchange, At(1), world.stream)
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
  ASSERT_THAT(
      RunWorld(1,
               [&](RankInWorld world) -> absl::Status {
                 SaveOptions options = At(1);
                 options.max_chunk_bytes = 8000;
                 return Save(storage, "/c", state, world.exchange, options, world.stream).status();
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
  EXPECT_THAT(
      RunWorld(2,
               [&](RankInWorld world) -> absl::Status {
                 const F0 f0;
                 const absl::Status status =
                     Save(storage, "/c", f0.state, world.exchange, At(1), world.stream).status();
                 EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
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
  EXPECT_THAT(RunWorld(2,
                       [&](RankInWorld world) -> absl::Status {
                         SaveOptions options = At(1);
                         options.agreed = absl::StrCat("after ", 7 - world.rank, " updates");
                         EXPECT_THAT(
                             Save(storage, "/c", {}, world.exchange, options, world.stream),
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
  EXPECT_THAT(
      RunWorld(2,
               [&](RankInWorld world) -> absl::Status {
                 const CheckpointState none;
                 EXPECT_THAT(
                     Save(storage, "/c", none, world.exchange, At(world.rank), world.stream),
                     StatusIs(absl::StatusCode::kInvalidArgument,
                              AllOf(HasSubstr("rank 0 saves iteration 0"),
                                    HasSubstr("rank 1 iteration 1"))));
                 SaveOptions options = At(2);
                 if (world.rank == 1) options.common = {{"encoder", 1}};
                 EXPECT_THAT(Save(storage, "/c", none, world.exchange, options, world.stream),
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
                 Saver saver(storage, world.exchange);
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
                         Saver saver(storage, world.exchange);
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

// 12 MiB of state.
struct Large {
  WholeTensor a{"a", DType::kF32, {1024, 1024}};
  WholeTensor b{"b", DType::kF32, {2048, 1024}};
  CheckpointState state{.tensors = {a.tensor(), b.tensor()}};

  Large() { FillPattern(state.tensors); }
};

// Loads into memory of its own and compares.
void ExpectLoads(Storage& storage, std::string_view directory, int shift = 0) {
  Large target;
  FillValue(target.state.tensors, 0);
  ASSERT_THAT(LoadAlone(storage, directory, target.state), IsOk());
  EXPECT_EQ(PatternDifference(target.state.tensors, shift), "");
}

TEST(AsyncSaveTest, StateMayChangeWhenItIsCopiedAndNotYetWritten) {
  MemoryStorage base;
  absl::Notification changed;
  FaultStorage storage(base, [&](const StorageCall& call) -> StorageFault {
    if (call.operation == StorageOperation::kWrite) changed.WaitForNotification();
    return {};
  });
  ASSERT_THAT(base.MakeDirectory("/c"), IsOk());
  Large large;
  ASSERT_THAT(
      RunWorld(1,
               [&](RankInWorld world) -> absl::Status {
                 Saver saver(storage, world.exchange);
                 SaveOptions options = At(1);
                 options.ring_bytes = 32 << 20;
                 HETERO_RETURN_IF_ERROR(saver.Begin("/c", large.state, options, world.stream));
                 saver.AwaitCopied();
                 EXPECT_FALSE(saver.IsWritten());
                 FillValue(large.state.tensors, 1);
                 changed.Notify();
                 return saver.Finish().status();
               }),
      IsOk());
  ASSERT_THAT(Commit(base, "/c"), IsOk());
  ExpectLoads(base, "/c");
}

TEST(AsyncSaveTest, ARingBelowTheStateIsFilledAgainAndAgain) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  Large large;
  ASSERT_THAT(
      RunWorld(1,
               [&](RankInWorld world) -> absl::Status {
                 Saver saver(storage, world.exchange);
                 SaveOptions options = At(1);
                 options.ring_bytes = 1;
                 options.num_files = 1;
                 HETERO_RETURN_IF_ERROR(saver.Begin("/c", large.state, options, world.stream));
                 saver.AwaitCopied();
                 FillValue(large.state.tensors, 1);
                 HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
                 EXPECT_EQ(report.ring_bytes, 8 << 20);
                 return absl::OkStatus();
               }),
      IsOk());
  ASSERT_THAT(Commit(storage, "/c"), IsOk());
  ExpectLoads(storage, "/c");
}

// Tensors in other memory and objects of another size are of the same structure.
TEST(AsyncSaveTest, APlanThatIsKeptWritesWhatTheStateHasNow) {
  MemoryStorage storage;
  WholeTensor first("w", DType::kF32, {4, 8}), second("w", DType::kF32, {4, 8});
  ASSERT_THAT(
      RunWorld(1,
               [&](RankInWorld world) -> absl::Status {
                 Saver saver(storage, world.exchange);
                 for (const int64_t i : {1, 2, 3, 4}) {
                   CheckpointState state{
                       .tensors = {(i % 2 == 0 ? second : first).tensor()},
                       .objects = {{.name = "o/shard_0_1", .value = std::string(i / 3 + 1, 'x')}}};
                   FillValue(state.tensors, static_cast<double>(i));
                   const std::string directory = absl::StrCat("/", i);
                   HETERO_RETURN_IF_ERROR(storage.MakeDirectory(directory));
                   HETERO_RETURN_IF_ERROR(saver.Begin(directory, state, At(i), world.stream));
                   HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
                   EXPECT_EQ(report.plan_cached, i > 1);
                 }
                 return absl::OkStatus();
               }),
      IsOk());
  for (const int64_t i : {1, 2, 3, 4}) {
    const std::string directory = absl::StrCat("/", i);
    ASSERT_THAT(Commit(storage, directory), IsOk());
    WholeTensor w("w", DType::kF32, {4, 8});
    CheckpointState state{.tensors = {w.tensor()}, .objects = {{.name = "o/shard_0_1"}}};
    ASSERT_THAT(LoadAlone(storage, directory, state), IsOk());
    EXPECT_EQ(w.Floats(), std::vector<float>(32, static_cast<float>(i)));
    EXPECT_EQ(state.objects[0].value, std::string(i / 3 + 1, 'x'));
  }
}

// The first save after it is like the second of others.
TEST(AsyncSaveTest, WhatIsPreparedIsAllThatAFirstSaveNeeds) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/1"), IsOk());
  ASSERT_THAT(storage.MakeDirectory("/2"), IsOk());
  Large large;
  SaveReport reports[2];
  ASSERT_THAT(RunWorld(2,
                       [&](RankInWorld world) -> absl::Status {
                         CheckpointState state;
                         if (world.rank == 0) state = large.state;
                         Saver saver(storage, world.exchange);
                         HETERO_RETURN_IF_ERROR(saver.Prepare(state, {}, world.stream.device()));
                         for (const int64_t i : {1, 2}) {
                           HETERO_RETURN_IF_ERROR(
                               saver.Begin(absl::StrCat("/", i), state, At(i), world.stream));
                           HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
                           EXPECT_TRUE(report.plan_cached);
                           if (world.rank == 0) reports[i - 1] = report;
                         }
                         return absl::OkStatus();
                       }),
              IsOk());
  EXPECT_EQ(reports[0].ring_bytes, reports[1].ring_bytes);
  EXPECT_EQ(reports[1].ring_waits, 0);
  ASSERT_THAT(Commit(storage, "/1"), IsOk());
  ExpectLoads(storage, "/1");
}

TEST(AsyncSaveTest, OneSaveIsInFlight) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/1"), IsOk());
  const F0 f0;
  ASSERT_THAT(RunWorld(1,
                       [&](RankInWorld world) -> absl::Status {
                         Saver saver(storage, world.exchange);
                         EXPECT_FALSE(saver.in_flight());
                         saver.AwaitCopied();
                         HETERO_RETURN_IF_ERROR(saver.Begin("/1", f0.state, At(1), world.stream));
                         EXPECT_THAT(saver.Begin("/2", f0.state, At(2), world.stream),
                                     StatusIs(absl::StatusCode::kFailedPrecondition,
                                              AllOf(HasSubstr("/1"), HasSubstr("/2"))));
                         return saver.Finish().status();
                       }),
              IsOk());
}

TEST(AsyncSaveTest, InOneGoOrBesideOtherWorkTheFilesAreTheSame) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/2"), IsOk());
  const F0 f0;
  ASSERT_THAT(SaveAlone(storage, "/1", f0.state), IsOk());
  ASSERT_THAT(RunWorld(1,
                       [&](RankInWorld world) -> absl::Status {
                         Saver saver(storage, world.exchange);
                         HETERO_RETURN_IF_ERROR(saver.Begin(
                             "/2", f0.state, {.save_id = "other", .iteration = 10}, world.stream));
                         while (!saver.IsWritten()) absl::SleepFor(absl::Milliseconds(1));
                         return saver.Finish().status();
                       }),
              IsOk());
  EXPECT_EQ(absl::StrReplaceAll(ManifestTextOf(storage, "/2"), {{"\"other\"", "\"test\""}}),
            ManifestTextOf(storage, "/1"));
}

TEST(AsyncSaveTest, ManySavesLeaveNoThreadsAndNoFilesOpen) {
  const auto count = [](const char* what) {
    const std::filesystem::directory_iterator begin(absl::StrCat("/proc/self/", what)), end;
    return std::distance(begin, end);
  };
  MemoryStorage storage;
  const F0 f0;
  ASSERT_THAT(
      RunWorld(1,
               [&](RankInWorld world) -> absl::Status {
                 Saver saver(storage, world.exchange);
                 int64_t threads = 0, files = 0, ring = 0;
                 for (int i = 0; i < 40; ++i) {
                   const std::string directory = absl::StrCat("/", i);
                   HETERO_RETURN_IF_ERROR(storage.MakeDirectory(directory));
                   HETERO_RETURN_IF_ERROR(saver.Begin(directory, f0.state, At(i), world.stream));
                   HETERO_ASSIGN_OR_RETURN(const SaveReport report, saver.Finish());
                   if (i < 3) {
                     threads = count("task");
                     files = count("fd");
                     ring = report.ring_bytes;
                     continue;
                   }
                   EXPECT_EQ(count("task"), threads);
                   EXPECT_EQ(count("fd"), files);
                   EXPECT_EQ(report.ring_bytes, ring);
                 }
                 return absl::OkStatus();
               }),
      IsOk());
}

// What is in flight when a saver goes is waited for, and never finished.
TEST(AsyncSaveTest, ASaverThatGoesLeavesNoThreadBehind) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  Large large;
  ASSERT_THAT(RunWorld(1,
                       [&](RankInWorld world) -> absl::Status {
                         Saver saver(storage, world.exchange);
                         return saver.Begin("/c", large.state, At(1), world.stream);
                       }),
              IsOk());
  EXPECT_FALSE(storage.Exists("/c/manifest.json"));
}

// w of F0 is constant, b is not.
struct Constants : F0 {
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream{Device{}, workspace};

  Constants() { state.tensors[0].pieces[0].constant = true; }

  static SaveOptions After(std::string previous, int64_t iteration) {
    SaveOptions options = At(iteration);
    options.incremental = true;
    options.previous = std::move(previous);
    return options;
  }
};

TEST(SaveTest, WhatIsConstantIsWrittenOnceAndStaysWhereOlderSavesGo) {
  MemoryStorage disk;
  FaultStorage storage(disk, [](const StorageCall&) { return StorageFault{}; });
  Constants saved;
  Exchange alone;
  Saver saver(storage, alone);
  const auto save = [&](const std::string& directory, std::string previous, int64_t iteration) {
    EXPECT_THAT(storage.MakeDirectory(directory), IsOk());
    FillPattern(std::span(saved.state.tensors).subspan(1), static_cast<int>(iteration));
    EXPECT_THAT(saver.Begin(directory, saved.state,
                            Constants::After(std::move(previous), iteration), saved.stream),
                IsOk());
    return saver.Finish().value();
  };
  EXPECT_EQ(save("/1", "", 1).linked_bytes, 0);
  const SaveReport second = save("/2", "/1", 2);
  EXPECT_GT(second.linked_bytes, 32 * 4);
  EXPECT_LT(second.linked_bytes, second.bytes);
  EXPECT_EQ(ReadText(storage, "/1/__0_2.distcp").value(),
            ReadText(storage, "/2/__0_2.distcp").value());
  ASSERT_THAT(storage.RemoveTree("/1"), IsOk());
  // One that is gone, and a file system where files have one name: it is written again.
  EXPECT_EQ(save("/3", "/1", 3).linked_bytes, 0);
  EXPECT_EQ(save("/4", "/2", 4).linked_bytes, second.linked_bytes);
  for (const int64_t iteration : {2, 3, 4}) {
    const std::string directory = absl::StrCat("/", iteration);
    ASSERT_THAT(Commit(storage, directory), IsOk());
    F0 loaded;
    FillValue(loaded.state.tensors, 77);
    ASSERT_THAT(LoadAlone(storage, directory, loaded.state), IsOk());
    EXPECT_EQ(PatternDifference(std::span(loaded.state.tensors).first(1)), "");
    EXPECT_EQ(
        PatternDifference(std::span(loaded.state.tensors).subspan(1), static_cast<int>(iteration)),
        "");
  }
}

TEST(SaveTest, ConstantsAreWrittenAgainWhereFilesHaveOneName) {
  MemoryStorage disk;
  FaultStorage storage(disk, [](const StorageCall& call) {
    return call.operation == StorageOperation::kLink
               ? StorageFault{.kind = StorageFault::Kind::kError, .error = EPERM}
               : StorageFault{};
  });
  Constants saved;
  Exchange alone;
  Saver saver(storage, alone);
  std::string previous;
  for (const std::string directory : {"/1", "/2"}) {
    ASSERT_THAT(storage.MakeDirectory(directory), IsOk());
    ASSERT_THAT(saver.Begin(directory, saved.state, Constants::After(previous, 1), saved.stream),
                IsOk());
    EXPECT_EQ(saver.Finish().value().linked_bytes, 0);
    previous = directory;
  }
  EXPECT_EQ(ReadText(storage, "/1/__0_2.distcp").value(),
            ReadText(storage, "/2/__0_2.distcp").value());
}

}  // namespace
}  // namespace hetero
