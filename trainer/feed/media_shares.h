#ifndef HETERO_TRAINER_FEED_MEDIA_SHARES_H_
#define HETERO_TRAINER_FEED_MEDIA_SHARES_H_

// Which lane of an encoder has which media of a step's samples where they are shared out by cost.
// Every rank that asks finds the same from the facts of all samples of the step.

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "hetero/data/source.h"
#include "hetero/grid/plan_owners.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed_options.h"

namespace hetero {

// Of one microbatch of the run.
struct MicrobatchShares {
  std::vector<SampleFacts> samples;
  std::vector<std::vector<LaneRows>> media;  // of each sample, by its facts' sizes

  // What a lane has of them, as the facts of one sample without a place in a row.
  SampleFacts OfLane(int64_t lane, int modality) const;
};

struct StepShares {
  std::vector<MicrobatchShares> microbatches;
  std::vector<double> work;          // of each lane, by BalancedMedia::cost
  std::vector<double> work_by_lane;  // as if each had the media of its samples
};

// Thread safe.
class MediaShares {
 public:
  // The last `num_kept` steps that were asked for are kept. Precondition: `options` say what is
  // balanced; the modality's form is of images.
  MediaShares(std::shared_ptr<const BatchFeedOptions> options,
              std::unique_ptr<data::SampleSource> source, int num_kept);

  // Errors: those of ReadCheckedFacts, with the microbatch; INVALID_ARGUMENT naming the place of a
  // sample whose placeholders are not those of its images.
  absl::StatusOr<std::shared_ptr<const StepShares>> Of(int64_t step);

  // Steps are planned anew: what samples are has changed.
  void Forget();

 private:
  absl::StatusOr<StepShares> Plan(int64_t step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::shared_ptr<const BatchFeedOptions> options_;
  const int num_kept_;
  absl::Mutex mutex_;
  const std::unique_ptr<data::SampleSource> source_ ABSL_PT_GUARDED_BY(mutex_);
  // In the order in which they were asked for.
  std::deque<std::pair<int64_t, std::shared_ptr<const StepShares>>> kept_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_MEDIA_SHARES_H_
