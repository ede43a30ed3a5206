#ifndef HETERO_DATA_BATCH_BUILDER_H_
#define HETERO_DATA_BATCH_BUILDER_H_

// Samples to microbatches: pure but for reading the source.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

// How the language model writes a row.
struct RowFormat {
  int64_t sequence_length = 0;
  int64_t vocabulary_size = 0;           // text ids are below
  std::vector<int32_t> placeholder_ids;  // by modality
  int32_t pad_id = 0;
};

// Rows at the places in `range`, in order. Places behind the end of a single pass become rows of
// padding without loss, and so does the place in a row of a sample without tokens. `scratch` is
// working memory.
// Errors: INVALID_ARGUMENT naming the sample, its length and the limit, when it does not fit a row,
// or its text token that is outside the vocabulary and the range; DATA_LOSS for one of several in a
// row that is longer or shorter than planned; errors of the source.
absl::Status BuildLanguageBatch(SampleSource& source, const SampleOrder& order, SampleRange range,
                                const RowFormat& format, LanguageSample& scratch,
                                LanguageBatch& out);

// Images or clips of the same rows; places behind the end have none.
absl::Status BuildMediaBatch(SampleSource& source, const SampleOrder& order, SampleRange range,
                             int modality, MediaBatch& out);

// Those of the row at `place` that `wanted` says, by their number in the row's facts.
absl::Status BuildWantedMedia(SampleSource& source, const SampleOrder& order, int64_t place,
                              int modality, const std::vector<bool>& wanted, MediaBatch& out);

// Overwrites `out` with the facts of each row in `range`, of any lane, with the places that
// BuildLanguageBatch gives its placeholders: from these both ends of a transfer compute the same
// plan. Places behind the end of a single pass have a row and no media.
// Errors of the source.
absl::Status ReadFacts(SampleSource& source, const SampleOrder& order, SampleRange range,
                       int64_t row_length, int num_modalities, std::vector<SampleFacts>& out);

}  // namespace hetero::data

#endif  // HETERO_DATA_BATCH_BUILDER_H_
