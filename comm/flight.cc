#include "hetero/comm/flight.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/comm/rendezvous/judge.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

absl::Status Wrong(std::string_view name, std::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("a rank's flight: '", name, "' is missing or no ", expected));
}

absl::StatusOr<std::string> Text(const Json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_string()) return Wrong(name, "string");
  return found->get<std::string>();
}

absl::StatusOr<int64_t> Integer(const Json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number_integer()) return Wrong(name, "integer");
  return found->get<int64_t>();
}

absl::StatusOr<FlightEntry> ParseEntry(const Json& json) {
  FlightEntry entry;
  HETERO_ASSIGN_OR_RETURN(entry.sequence, Integer(json, "sequence"));
  HETERO_ASSIGN_OR_RETURN(entry.name, Text(json, "name"));
  HETERO_ASSIGN_OR_RETURN(entry.kind, Text(json, "kind"));
  HETERO_ASSIGN_OR_RETURN(entry.where, Text(json, "communicator"));
  HETERO_ASSIGN_OR_RETURN(entry.number, Integer(json, "number"));
  const auto peers = json.find("peers");
  if (peers == json.end() || !peers->is_array()) return Wrong("peers", "list");
  for (const Json& peer : *peers) {
    if (!peer.is_number_integer()) return Wrong("peers", "list of ranks");
    entry.peers.push_back(peer.get<int64_t>());
  }
  HETERO_ASSIGN_OR_RETURN(const int64_t start, Integer(json, "start_ns"));
  entry.start = absl::FromUnixNanos(start);
  if (json.contains("end_ns")) {
    HETERO_ASSIGN_OR_RETURN(const int64_t end, Integer(json, "end_ns"));
    entry.end = absl::FromUnixNanos(end);
  }
  return entry;
}

// The call that a rank has not come out of: the last that was begun.
const FlightEntry* InFlight(const RankFlight& flight) {
  const auto found = std::find_if(flight.calls.rbegin(), flight.calls.rend(),
                                  [](const FlightEntry& entry) { return !entry.end.has_value(); });
  return found == flight.calls.rend() ? nullptr : &*found;
}

std::string Describe(const FlightEntry& entry) {
  return absl::StrCat(entry.kind, " '", entry.name, "' on ", entry.where);
}

// As the rank would have told it while it waited.
RankView ViewOf(const RankFlight& flight) {
  RankView view{.came = true};
  RankActivity& activity = view.activity;
  std::map<std::string, int64_t> issued;
  for (const FlightEntry& entry : flight.calls) {
    int64_t& number = issued[entry.where];
    number = std::max(number, entry.number);
  }
  for (const auto& [where, number] : issued) {
    activity.issued.push_back({.communicator = where, .num_collectives = number});
  }
  const FlightEntry* const in_flight = InFlight(flight);
  if (in_flight == nullptr) {
    if (!flight.calls.empty()) activity.call = Describe(flight.calls.back());
    return view;
  }
  activity.call = Describe(*in_flight);
  activity.in_call = true;
  activity.communicator = in_flight->where;
  activity.collective = in_flight->number;
  for (const int64_t peer : in_flight->peers) {
    if (in_flight->number > 0) {
      activity.needs.push_back({.peer = GlobalRank(peer), .num_collectives = in_flight->number});
    } else {
      activity.waits_for.emplace_back(peer);
    }
  }
  return view;
}

std::string Row(int64_t rank, const RankFlight* flight, absl::Time last) {
  if (flight == nullptr) return absl::StrFormat("%5d  left nothing\n", rank);
  const FlightEntry* const in_flight = InFlight(*flight);
  std::string call = "has called nothing yet";
  if (in_flight != nullptr) {
    call = absl::StrFormat("in %s, for %.3f s", Describe(*in_flight),
                           absl::ToDoubleSeconds(last - in_flight->start));
  } else if (!flight->calls.empty()) {
    const FlightEntry& entry = flight->calls.back();
    call = absl::StrFormat("left %s, %.3f s before", Describe(entry),
                           absl::ToDoubleSeconds(last - *entry.end));
  }
  return absl::StrFormat("%5d  %-28s  %-20s  %s\n", rank, flight->role,
                         flight->operation.empty() ? "-" : flight->operation, call);
}

}  // namespace

std::string ToJson(const RankFlight& flight) {
  Json calls = Json::array();
  for (const FlightEntry& entry : flight.calls) {
    Json call = {{"sequence", entry.sequence},
                 {"name", entry.name},
                 {"kind", entry.kind},
                 {"communicator", entry.where},
                 {"number", entry.number},
                 {"peers", entry.peers},
                 {"start_ns", absl::ToUnixNanos(entry.start)}};
    if (entry.end.has_value()) call["end_ns"] = absl::ToUnixNanos(*entry.end);
    calls.push_back(std::move(call));
  }
  const Json json = {{"rank", flight.rank.value()},   {"world_size", flight.world_size},
                     {"role", flight.role},           {"failure", flight.failure},
                     {"operation", flight.operation}, {"calls", std::move(calls)}};
  // What is no UTF-8 in a name is replaced.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<RankFlight> ParseRankFlight(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("a rank's flight is no JSON object");
  RankFlight flight;
  HETERO_ASSIGN_OR_RETURN(const int64_t rank, Integer(json, "rank"));
  flight.rank = GlobalRank(rank);
  HETERO_ASSIGN_OR_RETURN(flight.world_size, Integer(json, "world_size"));
  HETERO_ASSIGN_OR_RETURN(flight.role, Text(json, "role"));
  HETERO_ASSIGN_OR_RETURN(flight.failure, Text(json, "failure"));
  HETERO_ASSIGN_OR_RETURN(flight.operation, Text(json, "operation"));
  const auto calls = json.find("calls");
  if (calls == json.end() || !calls->is_array()) return Wrong("calls", "list");
  for (const Json& call : *calls) {
    HETERO_ASSIGN_OR_RETURN(flight.calls.emplace_back(), ParseEntry(call));
  }
  return flight;
}

absl::StatusOr<std::string> ExplainFlights(std::span<const RankFlight> flights) {
  constexpr int64_t kMaxRanks = int64_t{1} << 20;
  if (flights.empty()) return absl::InvalidArgumentError("no rank left a flight");
  const int64_t world_size = flights.front().world_size;
  if (world_size < 1 || world_size > kMaxRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("world_size is ", world_size, ", must be 1 to ", kMaxRanks));
  }
  std::vector<const RankFlight*> by_rank(static_cast<size_t>(world_size));
  absl::Time last = absl::InfinitePast();
  for (const RankFlight& flight : flights) {
    const int64_t rank = flight.rank.value();
    if (flight.world_size != world_size || rank < 0 || rank >= world_size ||
        by_rank[static_cast<size_t>(rank)] != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("rank ", rank, " of ", flight.world_size,
                       " ranks is not of one run with the others, of ", world_size));
    }
    by_rank[static_cast<size_t>(rank)] = &flight;
    for (const FlightEntry& entry : flight.calls) {
      last = std::max({last, entry.start, entry.end.value_or(entry.start)});
    }
  }
  std::vector<RankView> views;
  for (const RankFlight* flight : by_rank) {
    if (flight != nullptr) {
      views.push_back(ViewOf(*flight));
    } else {
      views.push_back({.came = true, .activity = {.call = "no record: its process ended at once"}});
    }
  }
  absl::Duration waited;
  for (const RankFlight& flight : flights) {
    const FlightEntry* const entry = InFlight(flight);
    if (entry != nullptr) waited = std::max(waited, last - entry->start);
  }
  const absl::Status stall = ExplainStall(views, absl::Trunc(waited, absl::Milliseconds(1)));
  std::string text = stall.ok() ? "no rank waited for another" : std::string(stall.message());
  absl::StrAppend(&text, "\n");
  const auto failed =
      std::ranges::find_if(flights, [](const RankFlight& f) { return !f.failure.empty(); });
  if (failed != flights.end()) absl::StrAppend(&text, "the run's failure: ", failed->failure, "\n");
  absl::StrAppendFormat(&text, "\n%5s  %-28s  %-20s  %s\n", "rank", "role", "operation",
                        "last call");
  for (int64_t rank = 0; rank < world_size; ++rank) {
    text += Row(rank, by_rank[static_cast<size_t>(rank)], last);
  }
  return text;
}

}  // namespace hetero
