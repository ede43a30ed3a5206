#include "hetero/comm/rendezvous/activity.h"

#include "absl/status/status.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

absl::StatusOr<Json> Parse(std::string_view text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("an activity that is no JSON object");
  return json;
}

// The members of an object that an activity may leave out; what is of another type is left out too.
int64_t Integer(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}
std::string Text(const Json& json, const char* name) {
  const auto found = json.find(name);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}
template <typename Visit>
void ForEach(const Json& json, const char* name, Visit visit) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_array()) return;
  for (const Json& item : *found) visit(item);
}

Json Encoded(const MessageCounts& counts) {
  return {{"peer", counts.peer.value()},
          {"sends", counts.num_sends},
          {"receives", counts.num_receives}};
}

}  // namespace

std::string EncodeActivity(const RankActivity& activity) {
  Json json = {
      {"progress", activity.progress}, {"call", activity.call}, {"in_call", activity.in_call}};
  for (const GlobalRank rank : activity.waits_for) json["waits_for"].push_back(rank.value());
  if (!activity.communicator.empty()) {
    json["communicator"] = activity.communicator;
    json["collective"] = activity.collective;
  }
  for (const CallNeed& need : activity.needs) {
    json["needs"].push_back({{"peer", need.peer.value()},
                             {"collectives", need.num_collectives},
                             {"sends", need.num_sends},
                             {"receives", need.num_receives}});
  }
  for (const IssuedCalls& issued : activity.issued) {
    Json entry = {{"communicator", issued.communicator}, {"collectives", issued.num_collectives}};
    for (const MessageCounts& counts : issued.messages)
      entry["messages"].push_back(Encoded(counts));
    json["issued"].push_back(std::move(entry));
  }
  // What is no UTF-8 in a name is replaced.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<RankActivity> DecodeActivity(std::string_view text) {
  const absl::StatusOr<Json> json = Parse(text);
  if (!json.ok()) return json.status();
  RankActivity activity;
  activity.progress = Integer(*json, "progress");
  activity.call = Text(*json, "call");
  activity.in_call = json->value("in_call", Json(false)) == Json(true);
  ForEach(*json, "waits_for", [&](const Json& item) {
    if (item.is_number_integer()) activity.waits_for.emplace_back(item.get<int64_t>());
  });
  activity.communicator = Text(*json, "communicator");
  activity.collective = Integer(*json, "collective");
  ForEach(*json, "needs", [&](const Json& item) {
    activity.needs.push_back({.peer = GlobalRank(Integer(item, "peer")),
                              .num_collectives = Integer(item, "collectives"),
                              .num_sends = Integer(item, "sends"),
                              .num_receives = Integer(item, "receives")});
  });
  ForEach(*json, "issued", [&](const Json& item) {
    IssuedCalls& issued = activity.issued.emplace_back();
    issued.communicator = Text(item, "communicator");
    issued.num_collectives = Integer(item, "collectives");
    ForEach(item, "messages", [&](const Json& counts) {
      issued.messages.push_back({.peer = GlobalRank(Integer(counts, "peer")),
                                 .num_sends = Integer(counts, "sends"),
                                 .num_receives = Integer(counts, "receives")});
    });
  });
  return activity;
}

}  // namespace hetero
