#ifndef HETERO_DATA_MOCK_OPTIONS_H_
#define HETERO_DATA_MOCK_OPTIONS_H_

// What made-up samples have of which sizes.

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/image/image.h"
#include "hetero/data/source.h"

namespace hetero::data {

struct MockOptions {
  int64_t num_samples = std::numeric_limits<int64_t>::max();  // then they repeat
  uint64_t seed = 0;
  uint64_t split = 0;  // samples of different splits share nothing

  int64_t sequence_length = 0;
  // Per sample, over all tiles, or over all images of differing sizes at most; 0: text alone.
  int64_t image_tokens = 0;
  int64_t vocabulary_size = 0;
  int64_t image_id = 0;
  int64_t audio_id = -1;  // -1: there is none
  int64_t pad_id = 0;

  // Of the model's modalities, and how many samples in a hundred have any of each, by the seed.
  int image_modality = 0;
  int audio_modality = 1;
  int64_t image_percent = 100;
  int64_t audio_percent = 100;

  // A clip has from min_frames to max_frames frames, by the seed; 0: no clips.
  int64_t num_mels = 0;
  int64_t min_frames = 0;
  int64_t max_frames = 0;

  // A sample with images has from 1 to max_images of them, less those that image_tokens has no room
  // for, each nearly square and of from min_patches to max_patches patches, x of them with a
  // likelihood as 1 / x^2: by the seed. 0: images are tiles, as below.
  int64_t max_images = 0;
  int64_t min_patches = 0;
  int64_t max_patches = 0;

  // Of the images; unused when image_tokens is 0.
  int64_t num_tiles = 1;
  int64_t patch_size = 0;
  bool pixel_shuffle = true;
  // Unset: each tile is the grid nearest to a square that gives image_tokens / num_tiles. Set:
  // tiles have this size and must give exactly image_tokens.
  std::optional<ImageSize> tile_size;

  int64_t PatchesPerToken() const { return pixel_shuffle ? 4 : 1; }
  int64_t PatchWidth() const { return 3 * patch_size * patch_size; }
  int64_t NumPatches(ImageSize size) const { return size.Area() / (patch_size * patch_size); }
  int64_t NumTokens(ImageSize size) const { return NumPatches(size) / PatchesPerToken(); }
  bool SizesDiffer() const { return max_images > 0; }
  // Tokens of the smallest and of the largest image. Precondition: SizesDiffer().
  int64_t LeastTokens() const;
  int64_t MostTokens() const { return max_patches / PatchesPerToken(); }
  // Ids of [1, vocabulary_size) that text does not take, ascending, and how many it may.
  std::vector<int64_t> SpecialIds() const;
  int64_t NumTextIds() const;
};

// Errors: INVALID_ARGUMENT naming field, value and rule; of tiles those of TileOf.
absl::Status Validate(const MockOptions& options);

// Of each tile. Precondition: image_tokens is positive, and sizes do not differ.
// Errors: INVALID_ARGUMENT naming field, value and rule.
absl::StatusOr<ImageSize> TileOf(const MockOptions& options);

// The size of a tile of `num_tokens` tokens: of all grids (with even sides under pixel shuffle) the
// nearest to a square, rows <= columns. Errors: INVALID_ARGUMENT when there is none.
absl::StatusOr<ImageSize> NearestSquareTile(int64_t num_tokens, int64_t patch_size,
                                            bool pixel_shuffle);

// The largest square of at most `num_tokens` tokens, with a column more where these suffice.
// Precondition: num_tokens is at least 1.
ImageSize NearlySquareImage(int64_t num_tokens, int64_t patch_size, bool pixel_shuffle);

// Of a source of these options. Precondition, of both: Validate passed.
SourceLimits ImageLimits(const MockOptions& options);
SourceLimits ClipLimits(const MockOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_MOCK_OPTIONS_H_
