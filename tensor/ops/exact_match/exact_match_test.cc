#include "hetero/tensor/ops/exact_match/exact_match.h"

#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/tensor/ops/testing.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ExactMatchTest, ARowCountsOnceAndOnlyWhenAllOfItIsRight) {
  StreamWithWorkspace stream;
  // Rows of 4 tokens: row 0 has one token, row 1 none, row 2 three, row 3 two.
  const HostTensor<int32_t> positions({6}, {3, 8, 9, 11, 12, 15});
  const HostTensor<int32_t> targets({6}, {7, 1, 2, 3, 5, 5});
  const HostTensor<int32_t> predicted({6}, {7, 1, 2, 4, 5, 5});
  HostTensor<int64_t> counts({2}, {10, 20});
  ASSERT_EQ(CountExactMatches(
                {predicted.view(), targets.view(), positions.view(), 4, counts.view()}, *stream),
            absl::OkStatus());
  EXPECT_THAT(counts.values(), ElementsAre(13, 22));
}

TEST(ExactMatchTest, OperandsMustFit) {
  StreamWithWorkspace stream(DeviceKind::kShapeOnly);
  const HostTensor<int32_t> two({2}, {0, 1});
  const HostTensor<int32_t> three({3}, {0, 1, 2});
  HostTensor<int64_t> counts({2}, {0, 0});
  EXPECT_THAT(
      CountExactMatches({two.view(), three.view(), two.view(), 4, counts.view()}, *stream),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("targets is i32[3]; expected [2]")));
}

}  // namespace
}  // namespace hetero
