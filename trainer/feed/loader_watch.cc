#include "hetero/trainer/feed/loader_watch.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"

namespace hetero {

LoaderWatch::LoaderWatch(SampleSet samples, absl::Duration timeout)
    : samples_(std::move(samples)), timeout_(timeout), clock_(timeout) {}

absl::StatusOr<std::unique_ptr<data::SampleSource>> LoaderWatch::Open() {
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, samples_.open());
  watched_.push_back({.note = std::make_shared<data::ReadingNote>()});
  return std::make_unique<data::WatchedSource>(std::move(source), watched_.back().note);
}

absl::Status LoaderWatch::Check() {
  const absl::Duration now = clock_.Now();
  for (Watched& watched : watched_) {
    const std::optional<data::ReadingNote::Reading> reading = watched.note->Current();
    if (reading != watched.reading) {
      watched.reading = reading;
      watched.since = now;
    }
    if (!reading.has_value() || now - watched.since < timeout_) continue;
    const std::string name =
        samples_.where ? samples_.where(reading->sample) : absl::StrCat("sample ", reading->sample);
    return absl::DeadlineExceededError(
        absl::StrCat("the loader hangs on ", name, ", which it has read for ",
                     absl::FormatDuration(now - watched.since), "; data.loader_timeout_seconds is ",
                     absl::ToDoubleSeconds(timeout_), ", storage may not answer"));
  }
  return absl::OkStatus();
}

}  // namespace hetero
