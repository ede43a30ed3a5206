#ifndef HETERO_DATA_SOURCE_H_
#define HETERO_DATA_SOURCE_H_

// Where samples come from: the trainer does not know whether they are read or made up.

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

// Tokens of a sample that stand for rows of an encoder's output.
struct MediaRun {
  int modality = 0;
  IndexRange tokens;  // of the sample, at least one

  bool operator==(const MediaRun&) const = default;
};

// The language side of a sample.
struct LanguageSample {
  std::string name;             // for messages, "shard/key"
  std::vector<MediaRun> media;  // in the order of tokens, none in another
  std::vector<int32_t> text;    // ids of the tokens that are in no run of media
  std::vector<int32_t> labels;  // of text: the id itself where it is trained on, else kIgnoredLabel

  int64_t NumPlaceholders() const {
    int64_t count = 0;
    for (const MediaRun& run : media) count += run.tokens.count;
    return count;
  }
  int64_t NumTokens() const { return NumPlaceholders() + static_cast<int64_t>(text.size()); }
};

// The largest sample of a modality: buffers are sized by it before the first step. What a source
// can give is known from its options alone.
struct SourceLimits {
  int64_t feature_width = 0;     // floats of a patch or a frame
  std::vector<MediaSize> sizes;  // of the largest sample
  int64_t max_features = 0;      // per sample, patches or frames of `sizes`
  int64_t max_tokens = 0;        // per sample, rows that `sizes` give
};

// Samples by index; modalities are numbered as the model has them. Both grids open the same source
// and must see the same counts, so everything but pixels and frames is decided by facts that both
// read: headers, sizes, text. One thread uses a source.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  virtual int64_t size() const = 0;

  // Floats of a patch or a frame; 0 where no sample has the modality.
  virtual int64_t feature_width(int modality) const = 0;

  // Text and counts of sample `index` in [0, size()); decodes no pixel.
  // Errors: DATA_LOSS or INVALID_ARGUMENT naming the sample.
  virtual absl::Status ReadLanguage(int64_t index, LanguageSample& out) = 0;

  // Appends the images or clips of sample `index` to the current sample of `out`, but for those
  // that it does not want, which are passed over without being decoded.
  // Errors: DATA_LOSS naming shard, key and member.
  virtual absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) = 0;

  // Writes sizes, placeholders and the runs of them among the sample's own tokens into `facts`,
  // which has none of any modality. Decodes no pixel. Errors: as ReadLanguage.
  virtual absl::Status ReadFacts(int64_t index, SampleFacts& facts) = 0;
};

// Adds placeholders behind all that `facts` has. Precondition: `run` does not begin before their
// end.
inline void AddPlaceholders(IndexRange run, ModalityFacts& facts) {
  facts.num_tokens += run.count;
  if (!facts.runs.empty() && facts.runs.back().end() == run.first) {
    facts.runs.back().count += run.count;
  } else {
    facts.runs.push_back(run);
  }
}

// The facts of a modality, made where `facts` has not so many.
inline ModalityFacts& FactsOf(SampleFacts& facts, int modality) {
  const auto index = static_cast<size_t>(modality);
  if (facts.modalities.size() <= index) facts.modalities.resize(index + 1);
  return facts.modalities[index];
}

}  // namespace hetero::data

#endif  // HETERO_DATA_SOURCE_H_
