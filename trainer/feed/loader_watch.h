#ifndef HETERO_TRAINER_FEED_LOADER_WATCH_H_
#define HETERO_TRAINER_FEED_LOADER_WATCH_H_

// Ends the wait for a loader that hangs on a sample: storage that does not answer gives no error.

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "hetero/comm/awake_clock.h"
#include "hetero/data/source.h"
#include "hetero/data/watched_source.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {

// Of the sources of a feed, each read by a thread of its own. One thread opens them and waits.
class LoaderWatch {
 public:
  LoaderWatch(SampleSet samples, absl::Duration timeout);

  // A source of the samples that is watched. Errors: those of SampleSet::open.
  absl::StatusOr<std::unique_ptr<data::SampleSource>> Open();

  // What a wait for such a thread asks, every tick(). Errors: DEADLINE_EXCEEDED naming a sample
  // that has been read for the whole timeout since a wait first found it.
  std::function<absl::Status()> check() {
    return [this] { return Check(); };
  }
  absl::Duration tick() const { return clock_.tick(); }

 private:
  struct Watched {
    std::shared_ptr<data::ReadingNote> note;
    std::optional<data::ReadingNote::Reading> reading = {};
    absl::Duration since = absl::ZeroDuration();
  };

  absl::Status Check();

  const SampleSet samples_;
  const absl::Duration timeout_;
  AwakeClock clock_;
  std::vector<Watched> watched_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_LOADER_WATCH_H_
