#include "hetero/tensor/ops/plan_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"

namespace hetero {
namespace {

using absl_testing::StatusIs;
using ::testing::ElementsAre;

// A cache of two plans, which are move-only as a library's are, and the problems it had made.
class PlanCacheTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<int>*> Get(int problem) {
    return cache_.Get(problem, [&](const int& asked) -> absl::StatusOr<std::unique_ptr<int>> {
      made_.push_back(asked);
      if (asked < 0) return absl::UnimplementedError("no algorithm");
      return std::make_unique<int>(10 * asked);
    });
  }

  PlanCache<int, std::unique_ptr<int>> cache_{2};
  std::vector<int> made_;
};

TEST_F(PlanCacheTest, MakesEachPlanOnce) {
  for (const int problem : {1, 2, 1, 2}) EXPECT_EQ(***Get(problem), 10 * problem);
  EXPECT_THAT(made_, ElementsAre(1, 2));
}

TEST_F(PlanCacheTest, HoldsNoMoreThanItMay) {
  for (const int problem : {1, 2, 3, 3, 1}) EXPECT_EQ(***Get(problem), 10 * problem);
  EXPECT_THAT(made_, ElementsAre(1, 2, 3, 1));
}

TEST_F(PlanCacheTest, ForgetsNothingForAPlanThatCannotBeMade) {
  for (const int problem : {1, 2, -1, -1, 1, 2}) {
    const auto plan = Get(problem);
    if (problem > 0) {
      EXPECT_EQ(***plan, 10 * problem);
    } else {
      EXPECT_THAT(plan, StatusIs(absl::StatusCode::kUnimplemented));
    }
  }
  EXPECT_THAT(made_, ElementsAre(1, 2, -1, -1));
}

}  // namespace
}  // namespace hetero
