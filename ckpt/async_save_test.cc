// Saves beside other work.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
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
#include "hetero/ckpt/format/manifest.h"
#include "hetero/ckpt/save.h"
#include "hetero/ckpt/save_memory.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/testing/fault_storage.h"
#include "hetero/ckpt/testing/f0.h"
#include "hetero/ckpt/testing/pattern.h"
#include "hetero/ckpt/testing/world.h"
#include "hetero/tensor/memory.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

SaveOptions At(int64_t iteration) { return {.save_id = "s", .iteration = iteration}; }

std::string ManifestTextOf(Storage& storage, const std::filesystem::path& directory) {
  return ReadText(storage, directory / kManifestName).value();
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
                 Saver saver(storage, world.exchange, world.memory);
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
                 Saver saver(storage, world.exchange, world.memory);
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
                 Saver saver(storage, world.exchange, world.memory);
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
                         Saver saver(storage, world.exchange, world.memory);
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

// Also where there is less to write, or nothing: it is known before there is a plan.
TEST(AsyncSaveTest, AGivenRingIsTakenAndCounted) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/1"), IsOk());
  Large large;
  ASSERT_THAT(
      RunWorld(2,
               [&](RankInWorld world) -> absl::Status {
                 CheckpointState state;
                 if (world.rank == 0) state = large.state;
                 SaveOptions options = At(1);
                 options.ring_bytes = 90'000'000;
                 const int64_t bytes = SaveMemoryBytes(options);
                 EXPECT_GE(bytes, options.ring_bytes);
                 {
                   Saver saver(storage, world.exchange, world.memory);
                   HETERO_RETURN_IF_ERROR(saver.Prepare(state, options, world.stream.device()));
                   EXPECT_EQ(world.memory.bytes(MemoryLabel::kHostStaging), bytes);
                   HETERO_RETURN_IF_ERROR(saver.Begin("/1", state, options, world.stream));
                   HETERO_RETURN_IF_ERROR(saver.Finish().status());
                   EXPECT_EQ(world.memory.total_bytes(), bytes);
                 }
                 EXPECT_EQ(world.memory.total_bytes(), 0);
                 return absl::OkStatus();
               }),
      IsOk());
}

TEST(SaveMemoryTest, TheLargestRingIsOneThatFits) {
  constexpr int64_t kMiB = int64_t{1} << 20;
  for (const int64_t room : {16 * kMiB + 8192, 45 * kMiB, 1000 * kMiB}) {
    const int64_t ring = LargestRing(room, {});
    ASSERT_GT(ring, 0) << room;
    EXPECT_LE(SaveMemoryBytes({.ring_bytes = ring}), room);
    EXPECT_GT(SaveMemoryBytes({.ring_bytes = ring + 4 * kMiB}), room);
  }
  EXPECT_EQ(LargestRing(16 * kMiB, {}), 0);
  EXPECT_EQ(LargestRing(20 * kMiB, {.incremental = true}), 0);
}

TEST(AsyncSaveTest, OneSaveIsInFlight) {
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/1"), IsOk());
  const F0 f0;
  ASSERT_THAT(RunWorld(1,
                       [&](RankInWorld world) -> absl::Status {
                         Saver saver(storage, world.exchange, world.memory);
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
                         Saver saver(storage, world.exchange, world.memory);
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
                 Saver saver(storage, world.exchange, world.memory);
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
                         Saver saver(storage, world.exchange, world.memory);
                         return saver.Begin("/c", large.state, At(1), world.stream);
                       }),
              IsOk());
  EXPECT_FALSE(storage.Exists("/c/manifest.json"));
}

}  // namespace
}  // namespace hetero
