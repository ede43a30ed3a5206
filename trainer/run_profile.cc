#include "hetero/trainer/run_profile.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "hetero/base/status.h"
#include "hetero/trainer/report/rank_account.h"

namespace hetero {
namespace {

RankAccount AccountOf(const Job& job, GlobalRank rank, const RankRecord& record) {
  RankAccount account{.profile = record.profile};
  if (record.waits.has_value()) {
    account.waits = WaitsOf(job, rank, record.profile, *record.waits);
  }
  return account;
}

}  // namespace

std::string ModulesOf(const Job& job, GlobalRank rank) {
  std::vector<std::string> modules;
  for (const int stage : job.train.StagesOf(*job.layout, rank)) {
    const std::string& module = job.train.stages[stage].module;
    if (std::ranges::find(modules, module) == modules.end()) modules.push_back(module);
  }
  return absl::StrJoin(modules, "+");
}

RankWaits WaitsOf(const Job& job, GlobalRank rank, const RankProfile& profile,
                  const StepWaits& known) {
  RankWaits waits{
      .module = ModulesOf(job, rank), .num_steps = profile.num_steps, .time = profile.time};
  waits.waits[std::string(kData)] = known.data;
  waits.waits[std::string(kCheckpoints)] = known.checkpoints;
  for (size_t stage = 0; stage < known.stages.size(); ++stage) {
    if (known.stages[stage] == absl::ZeroDuration()) continue;
    waits.waits[job.train.stages[stage].module] += known.stages[stage];
  }
  const absl::Duration unknown = profile.time - *profile.thread_time - waits.waited();
  waits.waits[std::string(kRanks)] = std::max(unknown, absl::ZeroDuration());
  return waits;
}

absl::StatusOr<std::string> DescribeRun(const Job& job, std::span<const RankRecord> records,
                                        Team& team) {
  std::vector<std::string> own;
  for (size_t r = 0; r < records.size(); ++r) {
    const GlobalRank rank(static_cast<int64_t>(r));
    own.push_back(team.IsHere(rank) ? ToText(AccountOf(job, rank, records[r])) : "");
  }
  HETERO_ASSIGN_OR_RETURN(const std::vector<std::string> all, team.ToLogging("profile", own));
  std::set<std::string> names;
  std::vector<RankProfile> profiles;
  std::vector<RankWaits> waits;
  for (const std::string& text : all) {
    HETERO_ASSIGN_OR_RETURN(RankAccount account, ParseRankAccount(text, names));
    profiles.push_back(std::move(account.profile));
    if (account.waits.has_value()) waits.push_back(*std::move(account.waits));
  }
  if (profiles.empty()) return "";
  std::string text = DescribeProfile(profiles);
  if (!waits.empty() && profiles[0].num_steps > 0) {
    absl::StrAppend(&text, "\n", DescribeWaits(waits, job.model->graph().SampleOwner().name));
  }
  return text;
}

}  // namespace hetero
