#include "hetero/trainer/feed/run_quarantine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/counted.h"
#include "hetero/base/status.h"

namespace hetero {

absl::StatusOr<std::shared_ptr<RunQuarantine>> RunQuarantine::Read(
    const proto::Quarantine& settings, const std::filesystem::path& working_folder) {
  std::filesystem::path file;
  if (settings.has_file()) file = working_folder / settings.file();
  std::shared_ptr<RunQuarantine> quarantine(
      new RunQuarantine(settings.max_samples(), std::move(file)));
  if (quarantine->file_.empty()) return quarantine;
  HETERO_ASSIGN_OR_RETURN(quarantine->listed_, data::ReadQuarantine(quarantine->file_));
  return quarantine;
}

void RunQuarantine::Count(std::shared_ptr<const SplitQuarantine> split) {
  const absl::MutexLock lock(&mutex_);
  splits_.push_back(std::move(split));
}

int64_t RunQuarantine::size() const {
  const absl::MutexLock lock(&mutex_);
  int64_t size = 0;
  for (const auto& split : splits_) size += split->samples->size();
  return size;
}

absl::Status RunQuarantine::CheckSize() const {
  const int64_t count = size();
  if (count <= max_samples_) return absl::OkStatus();
  return absl::DataLossError(absl::StrFormat(
      "%s cannot be read, data.quarantine.max_samples is %d; mend the data set, or set it to %d",
      Counted(count, "sample"), max_samples_, count));
}

absl::Status RunQuarantine::Add(const SplitQuarantine& split, std::span<const int64_t> samples,
                                const std::function<void(std::string_view)>& tell) {
  for (const int64_t index : samples) split.samples->Add(index);
  if (tell) {
    std::vector<data::ListedSample> found;
    for (const int64_t index : samples) {
      HETERO_ASSIGN_OR_RETURN(found.emplace_back(), split.describe(index));
      tell(absl::StrCat("passed over from now on: sample ", found.back().sample, " of ",
                        found.back().data_set, ": ", found.back().reason));
    }
    HETERO_RETURN_IF_ERROR(data::AddToQuarantine(file_, found)).With("data.quarantine");
  }
  const absl::Status room = CheckSize();
  if (room.ok()) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const data::ListedSample first, split.describe(samples.front()));
  return absl::DataLossError(absl::StrCat("sample ", first.sample, " of ", first.data_set, ": ",
                                          first.reason, "; ", room.message()));
}

}  // namespace hetero
