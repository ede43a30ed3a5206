#include "hetero/ckpt/snapshot.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/ckpt/snapshot_ring.h"
#include "hetero/ckpt/storage/memory_storage.h"
#include "hetero/ckpt/storage/storage.h"
#include "hetero/tensor/arena.h"

namespace hetero {
namespace {

using absl_testing::IsOk;

std::vector<std::byte*> AllSlots(SnapshotRing& ring) {
  for (int64_t ready = 0; ready < ring.num_slots();) ready = ring.AwaitReady(ready).value();
  std::vector<std::byte*> slots;
  for (int64_t i = 0; i < ring.num_slots(); ++i) slots.push_back(ring.slot(i));
  return slots;
}

// 40 slots are more than a piece.
constexpr int64_t kRingBytes = 40 * SnapshotRing::kSlotBytes;

TEST(SnapshotRingTest, SlotsAreAlignedAndApart) {
  MemoryLedger memory;
  SnapshotRing ring(memory);
  ASSERT_THAT(ring.Prepare(Device{}, kRingBytes - 1), IsOk());
  ASSERT_EQ(ring.num_slots(), 40);
  const std::vector<std::byte*> slots = AllSlots(ring);
  for (size_t i = 0; i < slots.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(slots[i]) % kDirectAlignment, 0u);
    slots[i][0] = slots[i][SnapshotRing::kSlotBytes - 1] = static_cast<std::byte>(i);
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    EXPECT_EQ(slots[i][0], static_cast<std::byte>(i));
    EXPECT_EQ(slots[i][SnapshotRing::kSlotBytes - 1], static_cast<std::byte>(i));
  }
}

TEST(SnapshotRingTest, WhatIsReadyStaysWhereItIsWhenTheRingGrows) {
  MemoryLedger memory;
  SnapshotRing ring(memory);
  ASSERT_THAT(ring.Prepare(Device{}, 3 * SnapshotRing::kSlotBytes), IsOk());
  std::vector<std::byte*> slots = AllSlots(ring);
  ASSERT_THAT(ring.Prepare(Device{}, 1), IsOk());
  EXPECT_EQ(AllSlots(ring), slots) << "what is there is kept";
  ASSERT_THAT(ring.Prepare(Device{}, kRingBytes), IsOk());
  EXPECT_THAT(ring.AwaitReady(0).value(), testing::Ge(3));
  std::vector<std::byte*> grown = AllSlots(ring);
  ASSERT_EQ(grown.size(), 40u);
  grown.resize(3);
  EXPECT_EQ(grown, slots);
}

TEST(SnapshotRingTest, ARingThatIsNotWantedAnyMoreEndsSoon) {
  MemoryLedger memory;
  SnapshotRing ring(memory);
  // Pieces are made one by one, and none after the end.
  ASSERT_THAT(ring.Prepare(Device{}, int64_t{1} << 30), IsOk());
  EXPECT_THAT(ring.AwaitReady(0).value(), testing::Ge(1));
}

// What was made ready before is all that a snapshot uses, and it waits for none of it.
TEST(SnapshotTest, AReadyRingIsUsedAsItIs) {
  MemoryLedger memory;
  SnapshotRing ring(memory);
  ASSERT_THAT(ring.Prepare(Device{}, kRingBytes), IsOk());
  const std::vector<std::byte*> slots = AllSlots(ring);
  MemoryStorage storage;
  ASSERT_THAT(storage.MakeDirectory("/c"), IsOk());
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device{}, workspace);
  std::vector<FilePlan> files;
  const int64_t bytes = kRingBytes + SnapshotRing::kSlotBytes;
  files.push_back({.name = "f", .bytes = bytes + 8192});
  files[0].items.push_back({.box = {{0}, {bytes / 4}},
                            .source = [](int64_t, int64_t count, std::byte* out) -> absl::Status {
                              std::fill(out, out + 4 * count, std::byte{5});
                              return absl::OkStatus();
                            },
                            .bytes = bytes + 8192,
                            .payload_offset = 4096,
                            .payload_bytes = bytes});
  const auto snapshot = Snapshot::Start(storage, "/c", std::move(files), kRingBytes, ring, stream);
  ASSERT_THAT(snapshot, IsOk());
  (*snapshot)->AwaitCopied();
  ASSERT_THAT((*snapshot)->Join(), IsOk());
  EXPECT_EQ((*snapshot)->ring_waits(), 0);
  EXPECT_EQ(AllSlots(ring), slots);
  const std::string text = ReadText(storage, "/c/f").value();
  EXPECT_EQ(text.substr(4096, bytes), std::string(bytes, 5));
}

}  // namespace
}  // namespace hetero
