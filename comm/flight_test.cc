#include "hetero/comm/flight.h"

#include <string>
#include <vector>

#include "absl/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace hetero {
namespace {

using ::absl_testing::IsOkAndHolds;
using ::absl_testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const absl::Time kStart = absl::FromUnixSeconds(1700000000);

FlightEntry Collective(std::string name, int64_t number, std::vector<int64_t> peers, bool ended) {
  FlightEntry entry = {.sequence = number,
                       .name = std::move(name),
                       .kind = "all_reduce",
                       .where = "threads[0,1,2] model",
                       .number = number,
                       .peers = std::move(peers),
                       .start = kStart + absl::Seconds(number)};
  if (ended) entry.end = entry.start + absl::Milliseconds(250);
  return entry;
}

RankFlight Flight(int64_t rank, std::vector<FlightEntry> calls) {
  return {.rank = GlobalRank(rank),
          .world_size = 3,
          .role = "language, dp 1",
          .failure = "rank 1: it threw",
          .operation = "step 4 B3",
          .calls = std::move(calls)};
}

TEST(FlightTest, SurvivesItsFile) {
  const RankFlight flight =
      Flight(2, {Collective("x", 1, {0, 1}, true), Collective("y", 2, {0, 1}, false)});
  EXPECT_THAT(ParseRankFlight(ToJson(flight)), IsOkAndHolds(flight));
  EXPECT_THAT(ParseRankFlight("[]"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseRankFlight(R"({"rank": 1, "world_size": "3"})"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'world_size'")));
}

TEST(FlightTest, NamesWhoLagsAndWhoWaits) {
  const std::vector<RankFlight> flights = {
      Flight(0, {Collective("x", 1, {1, 2}, true), Collective("y", 2, {1, 2}, false)}),
      Flight(1, {Collective("x", 1, {0, 2}, true)}),
      Flight(2, {Collective("x", 1, {0, 1}, true), Collective("y", 2, {0, 1}, false)})};
  EXPECT_THAT(
      ExplainFlights(flights),
      IsOkAndHolds(AllOf(
          StartsWith("rank 1 lags: it left all_reduce 'x' on threads[0,1,2] model; at the end "
                     "rank 0"),
          HasSubstr("rank 0 waits in all_reduce 'y' on threads[0,1,2] model for rank 1"),
          HasSubstr("the run's failure: rank 1: it threw"),
          HasSubstr("    1  language, dp 1                step 4 B3             left"))));
}

TEST(FlightTest, NamesRanksThatLeftNothing) {
  EXPECT_THAT(ExplainFlights(std::vector{Flight(0, {Collective("x", 1, {1, 2}, false)}),
                                         Flight(2, {Collective("x", 1, {0, 1}, false)})}),
              IsOkAndHolds(AllOf(StartsWith("rank 1 lags: it left no record"),
                                 HasSubstr("    1  left nothing"))));
}

TEST(FlightTest, NamesSwappedCollectives) {
  EXPECT_THAT(ExplainFlights(std::vector{Flight(0, {Collective("x", 5, {1, 2}, false)}),
                                         Flight(1, {Collective("y", 5, {0, 2}, false)}),
                                         Flight(2, {Collective("x", 5, {0, 1}, false)})}),
              IsOkAndHolds(StartsWith("members called different things: rank 0 all_reduce 'x' on "
                                      "threads[0,1,2] model, rank 1 all_reduce 'y'")));
}

TEST(FlightTest, RefusesFlightsOfSeveralRuns) {
  RankFlight other = Flight(0, {});
  EXPECT_THAT(ExplainFlights(std::vector{Flight(0, {}), other}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  other.rank = GlobalRank(7);
  EXPECT_THAT(ExplainFlights(std::vector{Flight(0, {}), other}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rank 7")));
  EXPECT_THAT(ExplainFlights({}), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace hetero
