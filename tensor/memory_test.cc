#include "hetero/tensor/memory.h"

#include <cstdint>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(MemoryLedgerTest, StagingOfTheHostIsBesideTheTotalOfTheDevice) {
  MemoryLedger ledger;
  ledger.Add(MemoryLabel::kWeights, 3 << 20);
  ledger.Add(MemoryLabel::kData, 1 << 19);
  EXPECT_EQ(ledger.ToString(), "weights 3.0 MiB, data 0.5 MiB, total 3.5 MiB");
  ledger.Add(MemoryLabel::kHostStaging, 2 << 20);
  EXPECT_EQ(ledger.ToString(),
            "weights 3.0 MiB, data 0.5 MiB, total 3.5 MiB, host staging 2.0 MiB beside it");
}

// Of both kinds of memory, on every device.
TEST(AllocationTest, WhatIsRefusedNamesOwnerAndBytes) {
  MemoryLedger ledger;
  for (const DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kShapeOnly, DeviceKind::kCuda}) {
    const Device device{.kind = kind};
    const auto buffer = [&](int64_t bytes) {
      return Buffer::Allocate(device, MemoryLabel::kWeights, bytes, ledger).status();
    };
    const auto pinned = [&](int64_t bytes) {
      return PinnedBuffer::Allocate(device, bytes, ledger).status();
    };
    EXPECT_THAT(buffer(-1),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("-1 bytes for weights")));
    EXPECT_THAT(pinned(-1), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("-1 bytes for host staging")));
    constexpr int64_t kTooMany = (int64_t{1} << 50) + 1;
    EXPECT_THAT(buffer(kTooMany), StatusIs(absl::StatusCode::kResourceExhausted,
                                           HasSubstr("for weights are more than any memory has")));
    EXPECT_THAT(pinned(kTooMany), StatusIs(absl::StatusCode::kResourceExhausted,
                                           HasSubstr("for host staging are more than")));
  }
  EXPECT_EQ(ledger, MemoryLedger());
  // No machine has a petabyte.
  EXPECT_THAT(PinnedBuffer::Allocate({}, int64_t{1} << 50, ledger).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("cpu has no 1125899906842624 bytes left for"),
                             HasSubstr("host staging"))));
}

TEST(AllocationTest, BothKindsAreCountedAsLongAsTheyLive) {
  for (const DeviceKind kind : {DeviceKind::kCpu, DeviceKind::kShapeOnly}) {
    MemoryLedger ledger;
    {
      const auto buffer = Buffer::Allocate({.kind = kind}, MemoryLabel::kData, 300, ledger);
      const auto pinned = PinnedBuffer::Allocate({.kind = kind}, 0, ledger);
      const auto staged = PinnedBuffer::Allocate({.kind = kind}, 257, ledger);
      ASSERT_TRUE(buffer.ok() && pinned.ok() && staged.ok());
      EXPECT_NE(pinned->address(), nullptr);
      EXPECT_EQ(ledger.bytes(MemoryLabel::kData), 512);
      EXPECT_EQ(ledger.bytes(MemoryLabel::kHostStaging), 512);
    }
    EXPECT_EQ(ledger, MemoryLedger());
  }
}

}  // namespace
}  // namespace hetero
