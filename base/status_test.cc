#include "hetero/base/status.h"

#include <memory>

#include "absl/status/status_matchers.h"
#include "absl/strings/cord.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOk;
using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;

absl::Status Fail() {
  absl::Status status = absl::NotFoundError("no such axis");
  status.SetPayload("origin", absl::Cord("rank 3"));
  return status;
}

TEST(StatusTest, WithAddsContextOutermostFirstAndKeepsCodeAndPayload) {
  const auto inner = []() -> absl::Status {
    HETERO_RETURN_IF_ERROR(Fail()).With("view expert");
    return absl::OkStatus();
  };
  const auto outer = [&]() -> absl::StatusOr<int> {
    HETERO_RETURN_IF_ERROR(inner()).With("encoder grid");
    return 1;
  };
  const absl::StatusOr<int> result = outer();
  EXPECT_THAT(result,
              StatusIs(absl::StatusCode::kNotFound, "encoder grid: view expert: no such axis"));
  EXPECT_EQ(result.status().GetPayload("origin"), absl::Cord("rank 3"));
}

TEST(StatusTest, AssignMovesTheValueOrReturnsTheError) {
  const auto use = [](absl::StatusOr<std::unique_ptr<int>> source) -> absl::StatusOr<int> {
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<int> value, std::move(source));
    return *value;
  };
  EXPECT_THAT(use(std::make_unique<int>(7)), IsOkAndHolds(7));
  EXPECT_THAT(use(Fail()), StatusIs(absl::StatusCode::kNotFound));
}

TEST(StatusTest, ReturnIfErrorTakesStatusOrAndNestsInUnbracedIf) {
  const auto check = [](bool run, absl::StatusOr<int> value) -> absl::Status {
    if (run)
      HETERO_RETURN_IF_ERROR(value);
    else
      return absl::CancelledError();
    return absl::OkStatus();
  };
  EXPECT_THAT(check(true, 1), IsOk());
  EXPECT_THAT(check(true, Fail()), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(check(false, 1), StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace hetero
