#ifndef HETERO_TRAINER_FEED_COUNTED_FACTS_H_
#define HETERO_TRAINER_FEED_COUNTED_FACTS_H_

// The facts of samples, from which both ends of an edge count its rows.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/media_shares.h"

namespace hetero {

// The facts of a lane's samples and of all in BatchFeedOptions::counted. One thread uses it.
class CountedFacts {
 public:
  // `source` is null on the shape-only device, where every sample is the largest, and where there
  // are `shares`, which know all samples.
  CountedFacts(std::shared_ptr<const BatchFeedOptions> options,
               std::unique_ptr<data::SampleSource> source,
               std::shared_ptr<MediaShares> shares = nullptr);

  // Of samples `range` of the whole microbatch, in order. Valid until this microbatch of another
  // step is asked for.
  // Errors: as ReadCheckedFacts, with the microbatch; INTERNAL for samples that are not
  // counted.
  absl::StatusOr<std::span<const SampleFacts>> Of(int64_t step, int microbatch,
                                                  data::SampleRange range);

  // Which lane has which media of a microbatch; null where media stay with their samples. Valid as
  // long as what Of returns. Errors: those of MediaShares::Of.
  absl::StatusOr<const MicrobatchShares*> Shares(int64_t step, int microbatch);

  // Facts are read anew: what samples are has changed.
  void Forget() {
    for (Microbatch& microbatch : microbatches_) microbatch.step = -1;
  }

 private:
  struct Microbatch {
    int64_t step = -1;
    std::vector<std::vector<SampleFacts>> samples;  // of each range of counted_
    std::shared_ptr<const StepShares> shares;       // of `step`
  };

  absl::Status Read(int64_t step, int microbatch, Microbatch& facts);

  std::shared_ptr<const BatchFeedOptions> options_;
  std::unique_ptr<data::SampleSource> source_;
  std::shared_ptr<MediaShares> shares_;
  std::vector<data::SampleRange> counted_;  // apart, ascending
  std::vector<Microbatch> microbatches_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_COUNTED_FACTS_H_
