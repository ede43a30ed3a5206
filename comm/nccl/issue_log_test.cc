#include "hetero/comm/nccl/issue_log.h"

#include <string_view>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/comm/collective.h"

namespace hetero::internal {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<GlobalRank> kMembers = {GlobalRank(3), GlobalRank(5), GlobalRank(6)};

Call AllReduce(std::string_view name, int64_t num_elements) {
  Call call;
  call.kind = CollectiveKind::kAllReduce;
  call.name = name;
  call.num_elements = num_elements;
  return call;
}

Call AllToAll(std::vector<int64_t> send_rows, std::vector<int64_t> receive_rows) {
  Call call;
  call.kind = CollectiveKind::kAllToAll;
  call.send_rows = std::move(send_rows);
  call.receive_rows = std::move(receive_rows);
  call.row_elements = 4;
  return call;
}

TEST(IssueLogTest, ACallWaitsForTheMembersThatHaveNotCome) {
  IssueLog log(kMembers);
  const auto first = log.Collective(GroupRank(1), AllReduce("a", 8)).value();
  const auto second = log.Collective(GroupRank(1), AllReduce("b", 9)).value();
  EXPECT_THAT(log.Laggards(first), ElementsAre(GroupRank(0), GroupRank(2)));
  ASSERT_THAT(log.Collective(GroupRank(2), AllReduce("a", 8)), IsOk());
  EXPECT_THAT(log.Laggards(first), ElementsAre(GroupRank(0)));
  ASSERT_THAT(log.Collective(GroupRank(0), AllReduce("a", 8)), IsOk());
  EXPECT_THAT(log.Laggards(first), IsEmpty());
  EXPECT_THAT(log.Laggards(second), ElementsAre(GroupRank(0), GroupRank(2)));
}

TEST(IssueLogTest, CallsAreComparedPlaceByPlace) {
  IssueLog log(kMembers);
  ASSERT_THAT(log.Collective(GroupRank(0), AllReduce("a", 8)), IsOk());
  ASSERT_THAT(log.Collective(GroupRank(0), AllReduce("b", 8)), IsOk());
  ASSERT_THAT(log.Collective(GroupRank(2), AllReduce("a", 8)), IsOk());
  EXPECT_THAT(log.Collective(GroupRank(2), AllReduce("c", 8)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "members called different things: rank 3 all_reduce 'b' of 8 f32 (sum), "
                       "rank 6 all_reduce 'c' of 8 f32 (sum)"));
}

TEST(IssueLogTest, RowsOfAllToAllMustFitPairByPair) {
  IssueLog log(kMembers);
  ASSERT_THAT(log.Collective(GroupRank(0), AllToAll({1, 2, 3}, {1, 4, 5})), IsOk());
  ASSERT_THAT(log.Collective(GroupRank(2), AllToAll({5, 6, 7}, {3, 8, 7})), IsOk());
  EXPECT_THAT(log.Collective(GroupRank(1), AllToAll({4, 0, 9}, {2, 0, 6})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 6 all_to_all")));
}

TEST(IssueLogTest, MessagesMatchInOrderAndWaitForTheirPeers) {
  IssueLog log(kMembers);
  const PostedMessage ahead[] = {{GroupRank(0), false, DType::kF32, 10},
                                 {GroupRank(2), false, DType::kF32, 20}};
  const auto first = log.Exchange(GroupRank(1), ahead).value();
  const auto second = log.Exchange(GroupRank(1), {ahead, 1}).value();
  EXPECT_THAT(log.Laggards(first), ElementsAre(GroupRank(0), GroupRank(2)));
  const PostedMessage send = {GroupRank(1), true, DType::kF32, 10};
  const auto sent = log.Exchange(GroupRank(0), {&send, 1}).value();
  EXPECT_THAT(log.Laggards(sent), IsEmpty());
  EXPECT_THAT(log.Laggards(first), ElementsAre(GroupRank(2)));
  EXPECT_THAT(log.Laggards(second), ElementsAre(GroupRank(0)));
  const PostedMessage other = {GroupRank(1), true, DType::kF32, 11};
  EXPECT_THAT(log.Exchange(GroupRank(0), {&other, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("rank 3 posts a send of 11 f32"),
                             HasSubstr("rank 5 posted a receive of 10 f32"))));
}

}  // namespace
}  // namespace hetero::internal
