#ifndef HETERO_COMM_FLIGHT_H_
#define HETERO_COMM_FLIGHT_H_

// What a rank leaves of itself when a run has failed, and what all of it together says.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/grid/rank.h"
#include "hetero/telemetry/flight_ring.h"

namespace hetero {

struct RankFlight {
  GlobalRank rank;
  int64_t world_size = 0;
  std::string role;       // "language, dp 1"
  std::string failure;    // the first of the run, as this rank knows it
  std::string operation;  // of the program, where the rank was: "step 12 B3"; empty: before any
  std::vector<FlightEntry> calls;  // the last, oldest first

  bool operator==(const RankFlight&) const = default;
};

// A JSON object on one line; times in nanoseconds since 1970.
std::string ToJson(const RankFlight& flight);
// Errors: INVALID_ARGUMENT naming what is missing or of another type.
absl::StatusOr<RankFlight> ParseRankFlight(std::string_view json);

// The sentence that follows from what ranks left, which are any of a world, in any order: who lags
// at which call and who waits because of it, who called something else than others, or who left
// nothing; after it the failure they name; and a table of all ranks. Errors: INVALID_ARGUMENT when
// they are not of one run.
absl::StatusOr<std::string> ExplainFlights(std::span<const RankFlight> flights);

}  // namespace hetero

#endif  // HETERO_COMM_FLIGHT_H_
