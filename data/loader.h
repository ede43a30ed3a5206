#ifndef HETERO_DATA_LOADER_H_
#define HETERO_DATA_LOADER_H_

// The microbatches of one lane, step after step, made ahead of their use by one thread.

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/prefetcher.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"

namespace hetero::data {

struct LoaderOptions {
  SampleOrder order;
  BatchLayout layout;
  LanePosition position;
  int64_t first_step = 0;  // of a resumed run
  int prefetch_depth = 2;  // batches that wait; one more is in work
};

// Errors: INVALID_ARGUMENT naming field and rule.
absl::Status Validate(const LoaderOptions& options);

// Next() gives the microbatches in the order (step, microbatch), starting at (first_step, 0).
// Errors are those of batch_builder.h, prefixed with step and microbatch; batches before the
// failing one are delivered first.
using LanguageLoader = Prefetcher<LanguageBatch>;
using MediaLoader = Prefetcher<MediaBatch>;

// Errors: INVALID_ARGUMENT as Validate.
absl::StatusOr<std::unique_ptr<LanguageLoader>> MakeLanguageLoader(
    std::unique_ptr<SampleSource> source, const LoaderOptions& options, const RowFormat& format);

absl::StatusOr<std::unique_ptr<MediaLoader>> MakeMediaLoader(std::unique_ptr<SampleSource> source,
                                                             int modality,
                                                             const LoaderOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_LOADER_H_
