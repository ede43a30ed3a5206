#ifndef HETERO_DATA_MOCK_SOURCE_H_
#define HETERO_DATA_MOCK_SOURCE_H_

// Made-up samples of exact shapes, for smoke tests and throughput.

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/image/image.h"
#include "hetero/data/source.h"

namespace hetero::data {

struct MockOptions {
  int64_t num_samples = std::numeric_limits<int64_t>::max();  // then they repeat
  uint64_t seed = 0;
  uint64_t split = 0;  // samples of different splits share nothing

  int64_t sequence_length = 0;
  int64_t image_tokens = 0;  // per sample, over all tiles; 0: text alone
  int64_t vocabulary_size = 0;
  int64_t image_id = 0;
  int64_t pad_id = 0;

  // Of the images; unused when image_tokens is 0.
  int64_t num_tiles = 1;
  int64_t patch_size = 0;
  bool pixel_shuffle = true;
  // Unset: each tile is the grid nearest to a square that gives image_tokens / num_tiles. Set:
  // tiles have this size and must give exactly image_tokens.
  std::optional<ImageSize> tile_size;
};

// The size of a tile of `num_tokens` tokens: of all grids (with even sides under pixel shuffle) the
// nearest to a square, rows <= columns. Errors: INVALID_ARGUMENT when there is none.
absl::StatusOr<ImageSize> NearestSquareTile(int64_t num_tokens, int64_t patch_size,
                                            bool pixel_shuffle);

// A sample is `image_tokens` image ids and sequence_length - image_tokens text ids, uniform over
// [1, vocabulary) without image and pad id; with images, each sample has that many loss tokens.
// Text and pixels (uniform in [-1, 1)) are hashes of (seed, split, index).
class MockSource : public SampleSource {
 public:
  // Errors: INVALID_ARGUMENT naming field, value and rule.
  static absl::StatusOr<std::unique_ptr<MockSource>> Create(const MockOptions& options);

  int64_t size() const override { return options_.num_samples; }
  SourceLimits limits() const override;
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override;
  absl::Status ReadImages(int64_t index, ImageBatch& out) override;
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override;

 private:
  MockSource(const MockOptions& options, ImageSize tile) : options_(options), tile_(tile) {}
  int64_t PatchesPerTile() const {
    return tile_.Area() / (options_.patch_size * options_.patch_size);
  }

  MockOptions options_;
  ImageSize tile_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_MOCK_SOURCE_H_
