#include "hetero/grid/plan_lanes.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> Counts(int64_t num_samples, int64_t rows = 1) {
  return std::vector<int64_t>(static_cast<size_t>(num_samples), rows);
}

TEST(PlanLanesTest, CutsWhereEitherLaneEnds) {
  using T = std::tuple<int64_t, int64_t, int64_t, int64_t>;
  const auto plan = [](int64_t source, int64_t destination, int64_t samples) {
    const std::vector<LaneTransfer> transfers =
        PlanLanes(Counts(samples), source, destination).value();
    std::vector<T> result;
    for (const LaneTransfer& t : transfers) {
      result.emplace_back(t.source.value(), t.destination.value(), t.first_sample,
                          t.first_sample + t.num_samples);
    }
    return result;
  };
  EXPECT_THAT(plan(2, 4, 8),
              ElementsAre(T(0, 0, 0, 2), T(0, 1, 2, 4), T(1, 2, 4, 6), T(1, 3, 6, 8)));
  EXPECT_THAT(plan(4, 2, 4),
              ElementsAre(T(0, 0, 0, 1), T(1, 0, 1, 2), T(2, 1, 2, 3), T(3, 1, 3, 4)));
  EXPECT_THAT(plan(2, 3, 6),
              ElementsAre(T(0, 0, 0, 2), T(0, 1, 2, 3), T(1, 1, 3, 4), T(1, 2, 4, 6)));
  EXPECT_THAT(plan(3, 2, 6),
              ElementsAre(T(0, 0, 0, 2), T(1, 0, 2, 3), T(1, 1, 3, 4), T(2, 1, 4, 6)));
}

TEST(PlanLanesTest, RowsOfAPartAreTheCountsOfItsSamples) {
  const auto parts = [](std::vector<int64_t> counts, int64_t lanes) {
    std::vector<int64_t> rows;
    const std::vector<LaneTransfer> transfers = PlanLanes(counts, 1, lanes).value();
    for (const LaneTransfer& t : transfers) rows.push_back(t.num_rows);
    return rows;
  };
  EXPECT_THAT(parts({0, 3, 1, 2}, 2), ElementsAre(3, 3));
  EXPECT_THAT(parts({1, 3, 2}, 3), ElementsAre(1, 3, 2));
  EXPECT_THAT(parts({1, 5}, 1), ElementsAre(6));
  EXPECT_THAT(parts({4, 0, 0, 4}, 4), ElementsAre(4, 0, 0, 4));
  EXPECT_THAT(parts({577, 577, 577, 577}, 4), ElementsAre(577, 577, 577, 577));
}

TEST(PlanLanesTest, NamesTheLanesThatDoNotFit) {
  EXPECT_THAT(PlanLanes(Counts(3), 1, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "3 samples of one microbatch do not divide among 2 destination lanes; "
                       "nearest: 2 or 4 samples"));
  EXPECT_THAT(PlanLanes(Counts(2), 4, 2),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "2 samples of one microbatch do not divide among 4 source lanes; nearest: "
                       "4 samples"));
  EXPECT_THAT(PlanLanes(std::vector<int64_t>{1, -1}, 1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "sample 1 has -1 rows, must be at least "
                       "0"));
}

TEST(PlanLanesTest, RefusesCountsThatAreNone) {
  const std::vector<int64_t> rows = {4, 4};
  for (const int64_t lanes : {int64_t{0}, int64_t{-1}, int64_t{1} << 62}) {
    EXPECT_THAT(PlanLanes(rows, lanes, 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("source lanes, must be 1 to")));
    EXPECT_THAT(PlanLanes(rows, 1, lanes), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("destination lanes, must be 1 to")));
  }
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(PlanLanes(std::vector<int64_t>{kHuge, kHuge}, 1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sample 0 has")));
  EXPECT_THAT(PlanLanes(std::vector<int64_t>{4, (int64_t{1} << 40) - 3}, 1, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nearest: 1099511627772")));
  EXPECT_TRUE(PlanLanes(std::vector<int64_t>{4, (int64_t{1} << 40) - 4}, 1, 1).ok());
}

}  // namespace
}  // namespace hetero
