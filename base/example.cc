#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hetero/base/matchers.h"
#include "hetero/base/status.h"
#include "hetero/base/strong_int.h"

namespace hetero {
namespace {

HETERO_STRONG_INT(LanePlace);  // compares, hashes and prints like an integer, converts to nothing

absl::StatusOr<LanePlace> LaneOfSample(int64_t sample, int64_t num_lanes) {
  if (num_lanes < 1) {
    return absl::InvalidArgumentError(absl::StrCat("num_lanes is ", num_lanes, "; at least 1"));
  }
  return LanePlace(sample % num_lanes);
}

absl::StatusOr<bool> ShareALane(int64_t a, int64_t b, int64_t num_lanes) {
  HETERO_ASSIGN_OR_RETURN(const LanePlace first, LaneOfSample(a, num_lanes));
  HETERO_ASSIGN_OR_RETURN(const LanePlace second, LaneOfSample(b, num_lanes));
  return first == second;
}

absl::Status ExpectApart(int64_t a, int64_t b, int64_t num_lanes) {
  const absl::StatusOr<bool> together = ShareALane(a, b, num_lanes);
  HETERO_RETURN_IF_ERROR(together).With("encoder grid");  // the text is made only on failure
  return *together ? absl::FailedPreconditionError("one lane has both") : absl::OkStatus();
}

TEST(Example, AnErrorSaysWhereItHappened) {
  EXPECT_EQ(ExpectApart(4, 7, 2), absl::OkStatus());
  EXPECT_EQ(ExpectApart(4, 7, 0),
            absl::InvalidArgumentError("encoder grid: num_lanes is 0; at least 1"));
}

TEST(Example, NumbersAreCloseInUnitsOfTheirRounding) {
  const std::vector<float> sums = {0.1f + 0.2f, 1e6f + 1.0f};
  const std::vector<double> expected = {0.3, 1000001};
  EXPECT_THAT(sums, IsCloseTo(expected, {.relative = 2 * Epsilon<float>()}));
}

}  // namespace
}  // namespace hetero
