#include "hetero/ckpt/exchange.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/status.h"
#include "hetero/comm/run_ranks.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::ElementsAre;

// Runs `body` on three ranks.
template <typename Body>
absl::Status OnThreeRanks(Body body) {
  return RunRanks(3, [&](GlobalRank rank, CommunicatorFactory& factory) -> absl::Status {
    HETERO_ASSIGN_OR_RETURN(
        const std::unique_ptr<Communicator> communicator,
        factory.Create({"control", {GlobalRank(0), GlobalRank(1), GlobalRank(2)}}));
    Exchange exchange(communicator.get());
    body(rank.value(), exchange);
    return absl::OkStatus();
  });
}

TEST(ExchangeTest, GathersAndBroadcastsTextsOfAnyLength) {
  EXPECT_THAT(OnThreeRanks([](int64_t rank, Exchange& exchange) {
                const std::string mine(rank * 5, static_cast<char>('a' + rank));
                EXPECT_THAT(exchange.AllGather(mine, "gather"),
                            IsOkAndHolds(ElementsAre("", "bbbbb", "cccccccccc")));
                EXPECT_THAT(exchange.AllGather("", "nothing"),
                            IsOkAndHolds(ElementsAre("", "", "")));
                EXPECT_THAT(exchange.Broadcast(mine, 1, "broadcast"), IsOkAndHolds("bbbbb"));
                EXPECT_THAT(exchange.Broadcast(mine, 0, "empty"), IsOkAndHolds(""));
              }),
              IsOk());
}

TEST(ExchangeTest, MessagesOfAnyNumberOfBytesArrive) {
  EXPECT_THAT(OnThreeRanks([](int64_t rank, Exchange& exchange) {
                const std::array<std::byte, 7> odd = {std::byte{1}, std::byte{2}, std::byte{3},
                                                      std::byte{4}, std::byte{5}, std::byte{6},
                                                      std::byte{7}};
                std::array<std::byte, 7> got = {};
                std::array<std::byte, 4> word = {};
                std::vector<Exchange::Send> sends;
                std::vector<Exchange::Receive> receives;
                if (rank == 0) sends = {{1, odd}, {1, std::span(odd).first(4)}};
                if (rank == 1) receives = {{0, got}, {0, word}};
                EXPECT_THAT(exchange.Transfer(sends, receives, "bytes"), IsOk());
                if (rank != 1) return;
                EXPECT_EQ(got, odd);
                EXPECT_EQ(word[3], std::byte{4});
              }),
              IsOk());
}

TEST(ExchangeTest, AllRanksHearTheFirstFailure) {
  EXPECT_THAT(OnThreeRanks([](int64_t rank, Exchange& exchange) {
                EXPECT_THAT(exchange.Agree(absl::OkStatus(), "good"), IsOk());
                const absl::Status mine =
                    rank == 0 ? absl::OkStatus()
                              : absl::NotFoundError(std::string(3, static_cast<char>('0' + rank)));
                EXPECT_THAT(
                    exchange.Agree(mine, "bad"),
                    StatusIs(absl::StatusCode::kNotFound, "rank 1: 111; and 1 other ranks"));
              }),
              IsOk());
}

}  // namespace
}  // namespace hetero
