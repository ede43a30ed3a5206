#ifndef HETERO_TRAINER_CONFIG_BATCH_SCHEDULE_H_
#define HETERO_TRAINER_CONFIG_BATCH_SCHEDULE_H_

// The samples of each step of a run, from its global_batch_size or its batch_size_schedule.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hetero/base/violation.h"
#include "hetero/data/batch_schedule.h"
#include "hetero/trainer/run_config.pb.h"

namespace hetero {

// What the rule of global_batch_size says.
int64_t MaxGlobalBatchSize();

// Adds what batch_size_schedule breaks by itself; nothing where it or sequence_length, whose rule
// is told elsewhere, is not set.
void CheckBatchSchedule(const proto::RunConfig& config, Violations& violations);

// Preconditions, here and below: one of the two is set, and CheckBatchSchedule adds nothing.
data::BatchSchedule BatchScheduleOf(const proto::RunConfig& config);

// The sizes that batch_size_schedule names, in its order.
std::vector<int64_t> ScheduledSizes(const proto::RunConfig& config);

// "0:768 250B:1536" with another size in place of that of entry `index`.
std::string WithSize(std::string_view schedule, size_t index, int64_t size);

}  // namespace hetero

#endif  // HETERO_TRAINER_CONFIG_BATCH_SCHEDULE_H_
