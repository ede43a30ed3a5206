#include "hetero/tensor/arena.h"

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/memory.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

TEST(ArenaTest, TheCountingPeakIsTheCapacityTheSameProgramNeeds) {
  const auto program = [](Arena& arena) -> absl::Status {
    const absl::StatusOr<TensorView> kept = arena.Allocate(DType::kF32, {7, 3});
    if (!kept.ok()) return kept.status();
    for (int64_t rows : {100, 300, 200}) {
      ArenaScope scope(arena);
      const absl::StatusOr<TensorView> scratch = arena.Allocate(DType::kF64, {rows});
      if (!scratch.ok()) return scratch.status();
    }
    return absl::OkStatus();
  };
  Arena counting = Arena::Counting(MemoryLabel::kWorkspace);
  ASSERT_EQ(program(counting), absl::OkStatus());
  MemoryLedger ledger;
  absl::StatusOr<Arena> arena =
      Arena::Create({}, MemoryLabel::kWorkspace, counting.peak_bytes(), ledger);
  ASSERT_TRUE(arena.ok());
  EXPECT_EQ(ledger.bytes(MemoryLabel::kWorkspace), counting.peak_bytes());
  EXPECT_EQ(program(*arena), absl::OkStatus());
  EXPECT_EQ(arena->peak_bytes(), counting.peak_bytes());
  EXPECT_THAT(arena->Allocate(DType::kF32, {1000}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("workspace arena of")));
}

TEST(ArenaTest, ATensorWhoseSizeHasNoNumberIsRefused) {
  Arena counting = Arena::Counting(MemoryLabel::kWorkspace);
  constexpr int64_t kLarge = int64_t{1} << 32;
  EXPECT_THAT(counting.Allocate(DType::kF32, {kLarge, kLarge}),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("a tensor of [4294967296, 4294967296] elements for workspace")));
  EXPECT_EQ(counting.peak_bytes(), 0);
}

TEST(BufferTest, TheLedgerFollowsMovesAndDestruction) {
  MemoryLedger ledger;
  {
    Buffer outer;
    {
      absl::StatusOr<Buffer> inner = Buffer::Allocate({}, MemoryLabel::kWeights, 1000, ledger);
      ASSERT_TRUE(inner.ok());
      outer = *std::move(inner);
    }
    EXPECT_EQ(ledger.bytes(MemoryLabel::kWeights), 1024);
    EXPECT_EQ(outer.View(DType::kF32, {250}).values<float>()[249], 0.0f);
  }
  EXPECT_EQ(ledger.total_bytes(), 0);
}

// What a run on a GPU takes of its host is told by a run on shapes.
TEST(PinnedBufferTest, CountsBesideTheDevicesOwnMemory) {
  for (const DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kShapeOnly}) {
    MemoryLedger ledger;
    const absl::StatusOr<Buffer> own =
        Buffer::Allocate({kind}, MemoryLabel::kWeights, 1000, ledger);
    ASSERT_THAT(own, IsOk());
    {
      absl::StatusOr<PinnedBuffer> staging = PinnedBuffer::Allocate({kind}, 300, ledger);
      ASSERT_THAT(staging, IsOk());
      const PinnedBuffer moved = *std::move(staging);
      EXPECT_EQ(ledger.bytes(MemoryLabel::kHostStaging), 512);
      EXPECT_EQ(ledger.device_bytes(), 1024);
      EXPECT_EQ(ledger.host_bytes(DeviceKind::kCuda), 512);
      EXPECT_EQ(ledger.host_bytes(DeviceKind::kCpu), 1536);
    }
    EXPECT_EQ(ledger.total_bytes(), 1024);
  }
}

}  // namespace
}  // namespace hetero
