#include "hetero/trainer/report/rank_account.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "nlohmann/json.hpp"

namespace hetero {
namespace {

using Json = nlohmann::json;

int64_t Nanoseconds(absl::Duration time) { return absl::ToInt64Nanoseconds(time); }

absl::Duration TimeOf(const Json& nanoseconds) {
  return absl::Nanoseconds(nanoseconds.get<int64_t>());
}

Json JsonOf(const Operations& operations) {
  Json rows = Json::object();
  for (const auto& [name, totals] : operations) {
    rows[std::string(name)] = {totals.calls, totals.flops, totals.bytes, Nanoseconds(totals.time)};
  }
  return rows;
}

Operations OperationsOf(const Json& rows, std::set<std::string>& names) {
  Operations operations;
  for (const auto& [name, totals] : rows.items()) {
    operations[*names.insert(name).first] = {.calls = totals.at(0).get<int64_t>(),
                                             .flops = totals.at(1).get<double>(),
                                             .bytes = totals.at(2).get<double>(),
                                             .time = TimeOf(totals.at(3))};
  }
  return operations;
}

}  // namespace

std::string ToText(const RankAccount& account) {
  const RankProfile& profile = account.profile;
  Json json = {{"steps", profile.num_steps},
               {"time", Nanoseconds(profile.time)},
               {"operations", JsonOf(profile.operations)},
               {"beside", JsonOf(profile.beside)},
               {"untimed", profile.num_untimed}};
  if (profile.thread_time.has_value()) json["thread_time"] = Nanoseconds(*profile.thread_time);
  if (account.waits.has_value()) {
    json["module"] = account.waits->module;
    Json& waits = json["waits"] = Json::object();
    for (const auto& [cause, time] : account.waits->waits) waits[cause] = Nanoseconds(time);
  }
  return json.dump();
}

absl::StatusOr<RankAccount> ParseRankAccount(std::string_view text, std::set<std::string>& names) {
  try {
    const Json json = Json::parse(text);
    RankAccount account;
    RankProfile& profile = account.profile;
    profile.num_steps = json.at("steps").get<int64_t>();
    profile.time = TimeOf(json.at("time"));
    profile.operations = OperationsOf(json.at("operations"), names);
    profile.beside = OperationsOf(json.at("beside"), names);
    profile.num_untimed = json.at("untimed").get<int64_t>();
    if (json.contains("thread_time")) profile.thread_time = TimeOf(json["thread_time"]);
    if (!json.contains("waits")) return account;
    account.waits = RankWaits{.module = json.at("module").get<std::string>(),
                              .num_steps = profile.num_steps,
                              .time = profile.time};
    for (const auto& [cause, time] : json["waits"].items()) {
      account.waits->waits[cause] = TimeOf(time);
    }
    return account;
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("profile of a rank: ", error.what()));
  }
}

}  // namespace hetero
