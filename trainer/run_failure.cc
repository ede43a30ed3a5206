#include "hetero/trainer/run_failure.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "hetero/trainer/exit_code.h"
#include "hetero/trainer/run_files.h"

namespace hetero {

bool HasRecord(const absl::Status& failure) {
  const ExitCode code = ExitCodeFor(failure);
  return code == ExitCode::kCommunication || code == ExitCode::kInternal;
}

std::optional<int64_t> StepInWork(std::span<const RankRecord> records) {
  std::optional<int64_t> last;
  for (const RankRecord& record : records) last = std::max(last, record.operation.step_in_work());
  return last;
}

bool MayComeAgain(const absl::Status& failure) {
  const ExitCode code = ExitCodeFor(failure);
  return code == ExitCode::kInternal || code == ExitCode::kData || code == ExitCode::kConfig;
}

void KeepFlights(const std::filesystem::path& folder, const absl::Status& failure, const Job& job,
                 std::span<const RankRecord> records, Console& console) {
  if (!HasRecord(failure)) return;
  const absl::Status written = WriteFlights(folder, failure, *job.layout, records);
  console.Print(written.ok() ? absl::StrCat("flight: ", (folder / "flight").native())
                             : std::string(written.message()));
}

}  // namespace hetero
