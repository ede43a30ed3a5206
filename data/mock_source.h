#ifndef HETERO_DATA_MOCK_SOURCE_H_
#define HETERO_DATA_MOCK_SOURCE_H_

// Made-up samples of exact shapes, for smoke tests and throughput.

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/image/image.h"
#include "hetero/data/mock_options.h"
#include "hetero/data/source.h"

namespace hetero::data {

// A sample is the placeholders of its images and of its clip and, up to sequence_length, text ids,
// uniform over [1, vocabulary) without placeholders and pad id; with images or a clip, each text id
// is a loss token. Text, pixels and log-mel frames (uniform in [-1, 1)) are hashes of (seed, split,
// index).
class MockSource : public SampleSource {
 public:
  // Errors: INVALID_ARGUMENT naming field, value and rule.
  static absl::StatusOr<std::unique_ptr<MockSource>> Create(const MockOptions& options);

  int64_t size() const override { return options_.num_samples; }
  int64_t feature_width(int modality) const override;
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override;
  absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) override;
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override;

 private:
  MockSource(const MockOptions& options, ImageSize tile) : options_(options), tile_(tile) {}
  uint64_t SampleStream(int64_t index, uint64_t purpose) const;
  bool HasImages(int64_t index) const;
  std::vector<ImageSize> ImagesOf(int64_t index) const;
  int64_t NumFrames(int64_t index) const;  // 0: no clip

  MockOptions options_;
  ImageSize tile_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_MOCK_SOURCE_H_
