#include "hetero/comm/connections.h"

#include <memory>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/comm/loopback/loopback.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

std::vector<GlobalRank> Ranks(int64_t count) {
  std::vector<GlobalRank> ranks;
  for (int64_t rank = 0; rank < count; ++rank) ranks.emplace_back(rank);
  return ranks;
}

TEST(ConnectionsTest, GrowWithWhatARankTalksToAndNotWithTheWorld) {
  for (const int64_t world : {16, 800, 10240}) {
    const std::unique_ptr<CommunicatorFactory> loopback = LoopbackFactory(GlobalRank(0), world);
    RecordingFactory factory(*loopback);
    ASSERT_THAT(factory.Create({"control", Ranks(world)}, CollectivesOnly()), IsOk());
    ASSERT_THAT(factory.Create({"bridge", Ranks(world)},
                               {.exchange_peers = std::vector{GlobalRank(1), GlobalRank(2)}}),
                IsOk());
    EXPECT_EQ(
        CountConnections(factory.made()),
        (Connections{.num_communicators = 2, .largest = world, .messages = 2, .collectives = 8}));
  }
}

TEST(ConnectionsTest, OneThatDoesNotSayIsConnectedToAll) {
  const std::vector<MadeCommunicator> made = {{{"model", Ranks(4)}, {}}};
  EXPECT_EQ(CountConnections(made),
            (Connections{.num_communicators = 1, .largest = 4, .messages = 3, .collectives = 3}));
}

TEST(ConnectionsTest, MessagesOnlyWithThePeersThatWereNamed) {
  const std::unique_ptr<CommunicatorFactory> factory = LoopbackFactory(GlobalRank(0), 4);
  auto bridge =
      factory->Create({"bridge", Ranks(4)}, {.exchange_peers = std::vector{GlobalRank(2)}});
  ASSERT_THAT(bridge, IsOk());
  Arena workspace = Arena::Counting(MemoryLabel::kWorkspace);
  Stream stream(Device(), workspace);
  float value = 0;
  const TensorView tensor(&value, DType::kF32, {1});
  EXPECT_THAT(
      (*bridge)->Exchange(std::vector<SendRequest>{{GroupRank(2), tensor}}, {}, stream, "x"),
      IsOk());
  EXPECT_THAT(
      (*bridge)->Exchange(std::vector<SendRequest>{{GroupRank(1), tensor}}, {}, stream, "x"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("names rank 1; the communicator was made for messages with [2]")));
  EXPECT_THAT(
      factory->Create({"bridge", Ranks(4)}, {.exchange_peers = std::vector{GlobalRank(7)}}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 7, which is no member")));
}

}  // namespace
}  // namespace hetero
