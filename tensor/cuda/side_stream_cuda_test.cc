#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/ops/testing.h"
#include "hetero/tensor/side_stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;

constexpr Device kGpu = {DeviceKind::kCuda};
constexpr int64_t kCount = int64_t{32} << 20;

class SideStreamCudaTest : public testing::Test {
 protected:
  TensorView Make() {
    buffers_.push_back(Buffer::Allocate(kGpu, MemoryLabel::kData, kCount * 4, memory_).value());
    return buffers_.back().View(DType::kI32, {kCount});
  }

  // Some tens of milliseconds of the stream.
  absl::Status Load(Stream& stream) {
    for (int i = 0; i < 500; ++i) {
      HETERO_RETURN_IF_ERROR(CopyToDevice(load_, load_copy_, stream));
    }
    return absl::OkStatus();
  }

  static absl::Status Set(const TensorView& view, int32_t value, Stream& stream) {
    const HostTensor<int32_t> one({1}, {value});
    return CopyToDevice(one.view(), view.Rows(view.dim(0) - 1, 1), stream);
  }

  static int32_t Last(const TensorView& view, Stream& stream) {
    HostTensor<int32_t> last({1});
    EXPECT_THAT(CopyToHost(view.Rows(view.dim(0) - 1, 1), last.view(), stream), IsOk());
    EXPECT_THAT(stream.Synchronize(), IsOk());
    return last[0];
  }

  MemoryLedger memory_;
  std::vector<Buffer> buffers_;
  StreamWithWorkspace stream_{DeviceKind::kCuda};
  SideStream& side_ = **stream_->State<SideStream>();
  const TensorView load_ = Make(), load_copy_ = Make();
};

// Two pieces of work in flight, joined in the other order: each sees what the stream had written,
// and the stream sees what they have.
TEST_F(SideStreamCudaTest, RunsBehindTheStreamAndBeforeTheJoin) {
  const TensorView a = Make(), b = Make(), c = Make();
  for (int32_t round = 1; round <= 3; ++round) {
    ASSERT_THAT(Load(*stream_), IsOk());
    ASSERT_THAT(Set(a, round, *stream_), IsOk());
    absl::StatusOr<SideStream::Mark> first = side_.Run([&](Stream& beside) -> absl::Status {
      EXPECT_NE(beside.handle(), stream_->handle());
      HETERO_RETURN_IF_ERROR(Load(beside));
      return CopyToDevice(a, b, beside);
    });
    ASSERT_THAT(first, IsOk());
    absl::StatusOr<SideStream::Mark> second =
        side_.Run([&](Stream& beside) { return CopyToDevice(b, c, beside); });
    ASSERT_THAT(second, IsOk());
    ASSERT_THAT(side_.Join(*std::move(second), "wait"), IsOk());
    ASSERT_THAT(side_.Join(*std::move(first), "wait"), IsOk());
    EXPECT_EQ(Last(c, *stream_), round);
  }
}

TEST_F(SideStreamCudaTest, RunsBesideWhatCameAfterAPoint) {
  absl::StatusOr<Event> side_done = Event::Create(kGpu), stream_done = Event::Create(kGpu);
  ASSERT_THAT(side_done, IsOk());
  ASSERT_THAT(stream_done, IsOk());
  absl::StatusOr<SideStream::Mark> point = side_.Here();
  ASSERT_THAT(point, IsOk());
  ASSERT_THAT(Load(*stream_), IsOk());
  ASSERT_THAT(stream_done->Record(*stream_), IsOk());
  absl::StatusOr<SideStream::Mark> mark =
      side_.RunAfter(*std::move(point), [&](Stream& beside) { return side_done->Record(beside); });
  ASSERT_THAT(mark, IsOk());
  ASSERT_THAT(side_done->Synchronize(), IsOk());
  EXPECT_THAT(stream_done->IsDone(), IsOkAndHolds(false));
  ASSERT_THAT(side_.Join(*std::move(mark), "wait"), IsOk());
  EXPECT_THAT(stream_->Synchronize(), IsOk());
}

TEST_F(SideStreamCudaTest, CallsAreTheStreams) {
  stream_->ledger().RecordCollectives(true);
  const auto call = [](Stream& queue) {
    queue.ledger().AddCollective("rows", "all_gather", 3);
    queue.ledger().AddOperation("copy", 1, 2, {});
    queue.ledger().AddOperation("copy", 10, 20, {});
    return absl::OkStatus();
  };
  ASSERT_THAT(side_.Run(call), IsOk());
  ASSERT_THAT(side_.Run(call), IsOk());
  EXPECT_EQ(stream_->ledger().collectives().size(), 2);
  EXPECT_EQ(stream_->ledger().operations().at("copy").calls, 4);
  EXPECT_EQ(stream_->ledger().operations().at("copy").bytes, 44);
}

TEST_F(SideStreamCudaTest, RunsOnTheStreamWhereOverlapIsNotWanted) {
  side_.set_overlaps(false);
  ASSERT_THAT(side_.Run([&](Stream& beside) {
    EXPECT_EQ(&beside, &*stream_);
    return absl::OkStatus();
  }),
              IsOk());
  side_.set_overlaps(true);
  EXPECT_TRUE(side_.overlaps());
}

}  // namespace
}  // namespace hetero
