#ifndef HETERO_TRAINER_FEED_COUNTED_FACTS_H_
#define HETERO_TRAINER_FEED_COUNTED_FACTS_H_

// The facts of samples, from which both ends of an edge count its rows.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/prefetcher.h"
#include "hetero/data/sample_order.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/loader_watch.h"
#include "hetero/trainer/feed/media_shares.h"

namespace hetero {

// The facts of a lane's samples and of all in BatchFeedOptions::counted, which a thread of its own
// reads ahead. One thread uses it. Move-only.
class CountedFacts {
 public:
  // Every sample is the largest, as on the shape-only device without samples.
  static CountedFacts OfLargest(std::shared_ptr<const BatchFeedOptions> options);

  // As samples have them; where there are `shares`, these know all. `watch` outlives the facts.
  // Errors: those of LoaderWatch::Open and of StartThread.
  static absl::StatusOr<CountedFacts> Create(std::shared_ptr<const BatchFeedOptions> options,
                                             std::shared_ptr<MediaShares> shares,
                                             LoaderWatch& watch);

  // Of samples `range` of the whole microbatch, in order. Valid until this microbatch of another
  // step is asked for.
  // Errors: as ReadCheckedFacts and LoaderWatch, with the microbatch; INTERNAL for samples that are
  // not counted.
  absl::StatusOr<std::span<const SampleFacts>> Of(int64_t step, int microbatch,
                                                  data::SampleRange range);

  // Which lane has which media of a microbatch; null where media stay with their samples. Valid as
  // long as what Of returns. Errors: those of MediaShares::Of and LoaderWatch.
  absl::StatusOr<const MicrobatchShares*> Shares(int64_t step, int microbatch);

  // Facts are read anew: what samples are has changed.
  void Forget();

 private:
  struct Facts {
    std::vector<std::vector<SampleFacts>> samples;  // of each range of counted_
    std::shared_ptr<const StepShares> shares;       // of the step
  };
  struct Microbatch {
    int64_t step = -1;
    data::BatchLease<Facts> facts;
  };

  explicit CountedFacts(std::shared_ptr<const BatchFeedOptions> options);

  // Of a microbatch, which is read unless it was before.
  absl::StatusOr<const Facts*> Read(int64_t step, int microbatch);

  std::shared_ptr<const BatchFeedOptions> options_;
  LoaderWatch* watch_ = nullptr;
  bool has_shares_ = false;
  std::vector<data::SampleRange> counted_;               // apart, ascending
  Facts largest_;                                        // where nothing is read
  std::unique_ptr<data::Prefetcher<Facts>> prefetcher_;  // null there
  std::vector<Microbatch> microbatches_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_COUNTED_FACTS_H_
