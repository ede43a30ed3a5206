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

namespace hetero {

// Of sample `sample` of a microbatch of the run, on the shape-only device: no sample has more of
// anything, and of each modality this rank owns as many placeholders as it ever can.
SampleFacts LargestSample(const BatchFeedOptions& options, int64_t sample);

// Of the samples at `range` of the run's order. Behind the end of a one-pass order there are no
// media.
// Errors: those of the source; INVALID_ARGUMENT for a sample above the limits.
absl::Status ReadCheckedFacts(const BatchFeedOptions& options, data::SampleSource& source,
                              data::SampleRange range, std::vector<SampleFacts>& facts);

// The facts of a lane's samples and of all in BatchFeedOptions::counted. One thread uses it.
class CountedFacts {
 public:
  // `source` is null on the shape-only device, where every sample is the largest.
  CountedFacts(std::shared_ptr<const BatchFeedOptions> options,
               std::unique_ptr<data::SampleSource> source);

  // Of samples `range` of the whole microbatch, in order. Valid until this microbatch of another
  // step is asked for.
  // Errors: as ReadCheckedFacts, with the microbatch; INTERNAL for samples that are not
  // counted.
  absl::StatusOr<std::span<const SampleFacts>> Of(int64_t step, int microbatch,
                                                  data::SampleRange range);

 private:
  struct Microbatch {
    int64_t step = -1;
    std::vector<std::vector<SampleFacts>> samples;  // of each range of counted_
  };

  absl::Status Read(int64_t step, int microbatch, Microbatch& facts);

  std::shared_ptr<const BatchFeedOptions> options_;
  std::unique_ptr<data::SampleSource> source_;
  std::vector<data::SampleRange> counted_;  // apart, ascending
  std::vector<Microbatch> microbatches_;
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_COUNTED_FACTS_H_
