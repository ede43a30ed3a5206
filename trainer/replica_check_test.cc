#include "hetero/trainer/replica_check.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/trainer/exit_code.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::StatusIs;
using ::testing::HasSubstr;

const std::vector<std::string> kNames = {"embedding", "norm", "output"};

absl::Status Judge(const std::vector<std::vector<uint64_t>>& digests) {
  Group ranks;
  for (size_t r = 0; r < digests.size(); ++r) ranks.emplace_back(static_cast<int64_t>(10 + 2 * r));
  return JudgeReplicas(40, "language.0", kNames, ranks, digests);
}

TEST(ReplicaCheckTest, EqualDigestsAreFine) { EXPECT_THAT(Judge({{1, 2, 3}, {1, 2, 3}}), IsOk()); }

TEST(ReplicaCheckTest, TheRankThatDiffersFromMostIsNamed) {
  const absl::Status status = Judge({{1, 7, 3}, {1, 2, 3}, {1, 2, 3}});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss,
                               HasSubstr("after step 40: norm of language.0 on rank 10 is not to "
                                         "the bit what it is on ranks 12, 14;")));
  EXPECT_EQ(ExitCodeFor(status), ExitCode::kCommunication);
}

TEST(ReplicaCheckTest, TheFirstTensorIsNamedAndTheOthersCounted) {
  EXPECT_THAT(
      Judge({{1, 2, 3}, {1, 8, 9}}).message(),
      HasSubstr("norm of language.0 on rank 12 is not to the bit what it is on rank 10, and "
                "so for 1 other tensor"));
}

TEST(ReplicaCheckTest, SeveralCulpritsAreNamedTogether) {
  EXPECT_THAT(Judge({{1, 2, 3}, {1, 2, 8}, {1, 2, 3}, {1, 2, 9}, {1, 2, 3}}).message(),
              HasSubstr("output of language.0 on ranks 12, 16 is not to the bit what it is on "
                        "ranks 10, 14, 18"));
}

}  // namespace
}  // namespace hetero
