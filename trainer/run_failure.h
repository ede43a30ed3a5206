#ifndef HETERO_TRAINER_RUN_FAILURE_H_
#define HETERO_TRAINER_RUN_FAILURE_H_

// What a failed run leaves for who looks for the cause.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "hetero/trainer/job.h"
#include "hetero/trainer/rank_record.h"
#include "hetero/trainer/report/console.h"

namespace hetero {

// Whether a failure is of the kind that is explained by what all ranks called.
bool HasRecord(const absl::Status& failure);

// The last training step that a rank of this process has not ended.
std::optional<int64_t> StepInWork(std::span<const RankRecord> records);

// Whether a failure is one that the same step may have again.
bool MayComeAgain(const absl::Status& failure);

// Leaves what ranks called in `folder`/flight, of a failure that HasRecord, and says where.
void KeepFlights(const std::filesystem::path& folder, const absl::Status& failure, const Job& job,
                 std::span<const RankRecord> records, Console& console);

}  // namespace hetero

#endif  // HETERO_TRAINER_RUN_FAILURE_H_
