#include "hetero/trainer/replay/capsule_writer.h"

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace hetero {

void CapsuleWriter::Saved(int64_t iteration, const std::filesystem::path& checkpoint) {
  if (!options_.saves_are_whole) return;
  source_ = checkpoint;
  saved_by_run_ = true;
  while (!seen_.empty() && seen_.front().iteration <= iteration) seen_.pop_front();
}

void CapsuleWriter::Saw(const StepMetrics& step) {
  seen_.push_back(step);
  if (seen_.size() > kMostSeen) seen_.pop_front();
}

std::string CapsuleWriter::Write(int64_t iteration, std::string_view cause,
                                 std::string_view failure) {
  if (num_written_ == options_.max_capsules) return "";
  ++num_written_;
  const std::filesystem::path folder =
      options_.run_folder / "capsules" / absl::StrFormat("iter_%07d", iteration);
  std::vector<SeenStep> seen;
  for (const StepMetrics& step : seen_) seen.push_back(SeenOf(step));
  const absl::StatusOr<Capsule> written =
      WriteCapsule(folder, source_,
                   {.iteration = iteration,
                    .cause = std::string(cause),
                    .failure = std::string(failure),
                    .config = options_.config,
                    .working_folder = options_.working_folder,
                    .program = options_.program,
                    .checkpoint = {},
                    .saved_by_run = saved_by_run_,
                    .first_sample = options_.batches.FirstSample(iteration - 1),
                    .num_samples = options_.batches.SizeOf(iteration - 1),
                    .seen = std::move(seen)});
  if (!written.ok()) {
    return absl::StrCat("its capsule cannot be written: ", written.status().message());
  }
  const bool is_elsewhere = std::filesystem::path(written->checkpoint).is_absolute();
  return absl::StrCat("capsule: --replay=", folder.native(), " runs it again",
                      is_elsewhere ? absl::StrCat("; it needs ", written->checkpoint,
                                                  ", which no hard link can keep for it")
                                   : "");
}

}  // namespace hetero
