#ifndef HETERO_TRAINER_RANK_WAITS_H_
#define HETERO_TRAINER_RANK_WAITS_H_

#include <span>
#include <vector>

#include "hetero/trainer/job.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/profile.h"
#include "hetero/trainer/report/waits.h"

namespace hetero {

// What the ranks of a job waited for in their steps, `profiles` and `records` by rank. A wait whose
// cause is not known is for other ranks. Precondition: all are threads on the CPU, and
// RankRecord::waits is set.
std::vector<RankWaits> WaitsOf(const Job& job, std::span<const RankProfile> profiles,
                               std::span<const RankRecord> records);

}  // namespace hetero

#endif  // HETERO_TRAINER_RANK_WAITS_H_
