#include <cstdint>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr Device kGpu = {DeviceKind::kCuda};

TEST(CudaBufferTest, IsZeroAndCounted) {
  MemoryLedger ledger;
  StreamWithWorkspace stream(DeviceKind::kCuda);
  for (int round = 0; round < 2; ++round) {
    const absl::StatusOr<Buffer> buffer =
        Buffer::Allocate(kGpu, MemoryLabel::kActivations, 4000, ledger);
    ASSERT_THAT(buffer, IsOk());
    EXPECT_EQ(ledger.bytes(MemoryLabel::kActivations), 4096);
    HostTensor<float> host({1000});
    const TensorView device = buffer->View(DType::kF32, {1000});
    ASSERT_THAT(CopyToHost(device, host.view(), *stream), IsOk());
    ASSERT_THAT(stream->Synchronize(), IsOk());
    EXPECT_THAT(host.values(), Each(0.0f));
    // The second round may get the same memory.
    host.values().assign(1000, 7.0f);
    ASSERT_THAT(CopyToDevice(host.view(), device, *stream), IsOk());
    ASSERT_THAT(stream->Synchronize(), IsOk());
  }
  EXPECT_EQ(ledger.total_bytes(), 0);
}

TEST(CudaBufferTest, TooMuchIsAnErrorWithTheLabel) {
  MemoryLedger ledger;
  EXPECT_THAT(Buffer::Allocate(kGpu, MemoryLabel::kWeights, int64_t{1} << 50, ledger),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("weights")));
  EXPECT_THAT(Buffer::Allocate({DeviceKind::kCuda, 99}, MemoryLabel::kWeights, 1, ledger),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cudaSetDevice")));
  // The error does not stay behind.
  EXPECT_THAT(Buffer::Allocate(kGpu, MemoryLabel::kWeights, 1, ledger), IsOk());
}

TEST(CudaCopyTest, PinnedRowsGoAndComeBackThroughPitches) {
  constexpr int64_t kRows = 37, kColumns = 13, kGap = 3;
  MemoryLedger ledger;
  StreamWithWorkspace stream(DeviceKind::kCuda);
  absl::StatusOr<PinnedBuffer> pinned = PinnedBuffer::Allocate(kGpu, kRows * kColumns * 4, ledger);
  ASSERT_THAT(pinned, IsOk());
  const TensorView staged = pinned->View(DType::kI32, {kRows, kColumns});
  for (int64_t i = 0; i < kRows * kColumns; ++i) staged.data<int32_t>()[i] = 1 + i;
  const absl::StatusOr<Buffer> buffer =
      Buffer::Allocate(kGpu, MemoryLabel::kData, kRows * (kColumns + kGap) * 4, ledger);
  ASSERT_THAT(buffer, IsOk());
  const TensorView wide = buffer->View(DType::kI32, {kRows, kColumns + kGap});
  HostTensor<int32_t> all({kRows, kColumns + kGap});
  ASSERT_THAT(CopyToDevice(staged, wide.Columns(kGap, kColumns), *stream), IsOk());
  ASSERT_THAT(CopyToHost(wide, all.view(), *stream), IsOk());
  ASSERT_THAT(stream->Synchronize(), IsOk());
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < kColumns + kGap; ++c) {
      EXPECT_EQ(all[r * (kColumns + kGap) + c], c < kGap ? 0 : 1 + r * kColumns + c - kGap);
    }
  }
}

TEST(CudaEventTest, OrdersTwoStreamsAndTakesTime) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  MemoryLedger ledger;
  StreamWithWorkspace first(DeviceKind::kCuda), second(DeviceKind::kCuda);
  const absl::StatusOr<Buffer> a = Buffer::Allocate(kGpu, MemoryLabel::kData, kBytes, ledger);
  const absl::StatusOr<Buffer> b = Buffer::Allocate(kGpu, MemoryLabel::kData, kBytes, ledger);
  ASSERT_THAT(a, IsOk());
  ASSERT_THAT(b, IsOk());
  absl::StatusOr<Event> start = Event::CreateTimed(kGpu), end = Event::CreateTimed(kGpu);
  ASSERT_THAT(start, IsOk());
  ASSERT_THAT(end, IsOk());
  const HostTensor<int32_t> one({1}, {1});
  const TensorView all_a = a->View(DType::kI32, {kBytes / 4});
  const TensorView all_b = b->View(DType::kI32, {kBytes / 4});
  ASSERT_THAT(start->Record(*first), IsOk());
  ASSERT_THAT(CopyToDevice(one.view(), all_a.Rows(kBytes / 4 - 1, 1), *first), IsOk());
  // From device to device: long enough for the second stream to come too early.
  ASSERT_THAT(CopyToDevice(all_a, all_b, *first), IsOk());
  ASSERT_THAT(end->Record(*first), IsOk());
  ASSERT_THAT(end->MakeWait(*second), IsOk());
  HostTensor<int32_t> last({1});
  ASSERT_THAT(CopyToHost(all_b.Rows(kBytes / 4 - 1, 1), last.view(), *second), IsOk());
  ASSERT_THAT(second->Synchronize(), IsOk());
  EXPECT_EQ(last[0], 1);
  EXPECT_THAT(end->Synchronize(), IsOk());
  EXPECT_THAT(end->IsDone(), absl_testing::IsOkAndHolds(true));
  const absl::StatusOr<absl::Duration> time = Event::TimeBetween(*start, *end);
  ASSERT_THAT(time, IsOk());
  EXPECT_GT(*time, absl::Microseconds(20));
  EXPECT_LT(*time, absl::Seconds(5));
}

}  // namespace
}  // namespace hetero
