#ifndef HETERO_TRAINER_FEED_CHECKED_FACTS_H_
#define HETERO_TRAINER_FEED_CHECKED_FACTS_H_

// The facts of samples, within what a run is sized for.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
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

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_CHECKED_FACTS_H_
