#ifndef HETERO_TRAINER_FEED_SAMPLE_PROBE_H_
#define HETERO_TRAINER_FEED_SAMPLE_PROBE_H_

// Looks whether the samples of a step can be read, before any rank works on it: a rank that decodes
// images finds what ranks that read text cannot, and all must pass over the same samples.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/data/prefetcher.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/loader_watch.h"

namespace hetero {

// Of a lane; a thread of its own reads the steps ahead. One thread uses a probe.
class SampleProbe {
 public:
  // `options` have samples, and these a quarantine. `watch` outlives the probe. Errors: those of
  // LoaderWatch::Open and of StartThread.
  static absl::StatusOr<std::unique_ptr<SampleProbe>> Create(
      std::shared_ptr<const BatchFeedOptions> options, LoaderWatch& watch);

  // The lane's samples of `step` that are not in quarantine and cannot be read as the stage reads
  // them, ascending, each once. Waits until all were read.
  // Errors: those of the source but DATA_LOSS, and of LoaderWatch.
  absl::StatusOr<std::vector<int64_t>> Bad(int64_t step);

 private:
  using Steps = data::Prefetcher<std::vector<int64_t>>;

  SampleProbe(std::shared_ptr<const BatchFeedOptions> options, LoaderWatch& watch,
              std::unique_ptr<Steps> steps)
      : options_(std::move(options)), watch_(watch), steps_(std::move(steps)) {}

  std::shared_ptr<const BatchFeedOptions> options_;
  LoaderWatch& watch_;
  std::unique_ptr<Steps> steps_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_SAMPLE_PROBE_H_
