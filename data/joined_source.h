#ifndef HETERO_DATA_JOINED_SOURCE_H_
#define HETERO_DATA_JOINED_SOURCE_H_

// Samples of several sources as those of one.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "hetero/base/index_range.h"
#include "hetero/data/batch.h"
#include "hetero/data/source.h"
#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

// Part by part. The sources are of the same options, which decide what a sample has at most.
class JoinedSource : public SampleSource {
 public:
  struct Part {
    std::unique_ptr<SampleSource> source;
    IndexRange samples;  // that are taken of it
  };

  // Precondition: there are parts, each within its source.
  explicit JoinedSource(std::vector<Part> parts);

  int64_t size() const override { return borders_.back(); }
  int64_t feature_width(int modality) const override {
    return parts_.front().source->feature_width(modality);
  }
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override;
  absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) override;
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override;

 private:
  // Where a sample is.
  std::pair<SampleSource&, int64_t> Find(int64_t index) const;

  std::vector<Part> parts_;
  std::vector<int64_t> borders_ = {0};  // and the end of each part
};

}  // namespace hetero::data

#endif  // HETERO_DATA_JOINED_SOURCE_H_
