#include "hetero/comm/loopback/loopback.h"

#include <span>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/stream.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;

class LoopbackTest : public testing::Test {
 protected:
  static TensorView View(std::vector<float>& values) {
    return TensorView(std::span<float>(values), {static_cast<int64_t>(values.size())});
  }

  Arena workspace_ = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream_{Device{}, workspace_};
  std::unique_ptr<CommunicatorFactory> factory_ = LoopbackFactory(GlobalRank(5), 64);
  std::unique_ptr<Communicator> comm_ =
      factory_->Create({"model", {GlobalRank(1), GlobalRank(5), GlobalRank(60)}}).value();
};

TEST_F(LoopbackTest, EveryCollectiveReturnsFiniteDataOfThePlansShapes) {
  std::vector<float> one = {3, 4}, three(6, -1.0f);
  ASSERT_THAT(comm_->AllReduce(View(one), View(one), ReduceOp::kSum, stream_, "a"), IsOk());
  EXPECT_THAT(one, ElementsAre(3, 4));
  ASSERT_THAT(comm_->AllGather(View(one), View(three), stream_, "b"), IsOk());
  EXPECT_THAT(three, ElementsAre(3, 4, 3, 4, 3, 4));
  three = {0, 1, 2, 3, 4, 5};
  ASSERT_THAT(comm_->ReduceScatter(View(three), View(one), stream_, "c"), IsOk());
  EXPECT_THAT(one, ElementsAre(2, 3));

  const int64_t sent[] = {1, 2, 3}, received[] = {2, 2, 1};
  std::vector<float> five(5, -1.0f);
  ASSERT_THAT(comm_->AllToAllV(View(three), sent, View(five), received, stream_, "d"), IsOk());
  EXPECT_THAT(five, ElementsAre(0, 0, 1, 2, 0));

  const ReceiveRequest receive = {GroupRank(2), View(five)};
  auto handle = comm_->Exchange({}, {&receive, 1}, stream_, "e");
  ASSERT_THAT(handle, IsOk());
  EXPECT_THAT((*handle)->Wait(), IsOk());
  EXPECT_THAT(five, ElementsAre(0, 0, 0, 0, 0));
}

TEST_F(LoopbackTest, AbortFailsLaterCallsWithTheFirstCause) {
  comm_->Abort(absl::DataLossError("rank 5: bad shard"));
  factory_->AbortAll(absl::InternalError("later"));
  std::vector<float> one = {3};
  EXPECT_THAT(
      comm_->Broadcast(View(one), GroupRank(0), stream_, "weights"),
      StatusIs(absl::StatusCode::kAborted, testing::HasSubstr("DATA_LOSS: rank 5: bad shard")));
  EXPECT_THAT(comm_->HealthCheck(), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace hetero
