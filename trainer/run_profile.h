#ifndef HETERO_TRAINER_RUN_PROFILE_H_
#define HETERO_TRAINER_RUN_PROFILE_H_

#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "hetero/grid/rank.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/waits.h"
#include "hetero/trainer/step/step_waits.h"
#include "hetero/trainer/team.h"

namespace hetero {

// "radio_encoder", or of a rank with stages of both "radio_encoder+language".
std::string ModulesOf(const Job& job, GlobalRank rank);

// What a rank on the CPU waited for in the steps of `profile`. A wait whose cause is not `known` is
// for other ranks.
RankWaits WaitsOf(const Job& job, GlobalRank rank, const RankProfile& profile,
                  const StepWaits& known);

// Tables of what all ranks of the run did in their steps and, on the CPU, waited for. Every process
// of the team calls it when its ranks have ended, `records` being by rank; only that of the rank
// that logs gets a text. Precondition: on the CPU RankRecord::waits is set.
// Errors: those of the team.
absl::StatusOr<std::string> DescribeRun(const Job& job, std::span<const RankRecord> records,
                                        Team& team);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_PROFILE_H_
