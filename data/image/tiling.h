#ifndef HETERO_DATA_IMAGE_TILING_H_
#define HETERO_DATA_IMAGE_TILING_H_

// Dynamic resolution: how many patches each image of a sample gets, so that all fit the sequence.
// Tiles of one size are in tiles.h. The arithmetic is Megatron-LM's (examples/multimodal, dynamic
// resolution), including its rounding; pure functions of sizes.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/tiles.h"

namespace hetero::data {

struct TilingOptions {
  int patch_size = 16;        // pixels
  int min_patches = 4;        // an image is never smaller, small ones grow
  int64_t max_patches = 0;    // per image; 0: bounded by the budget alone
  bool pixel_shuffle = true;  // 2x2 patches become one token, and both grid sides are even
  // Beside an image that is small on its grid the encoder sees it at kThumbnailSide as well.
  bool thumbnails = false;
  // Images are cut into these tiles, in place of all that stands above but the size of a token;
  // then there are no thumbnails but theirs.
  std::optional<TileOptions> tiles = std::nullopt;
};

// Pixels of a thumbnail's sides, and the share of its area below which an image gets one.
inline constexpr int kThumbnailSide = 448;
inline constexpr double kThumbnailShare = 0.8;

// Errors: INVALID_ARGUMENT naming the field.
absl::Status Validate(const TilingOptions& options);

// An image resized to rows * patch_size by columns * patch_size pixels.
struct PatchGrid {
  int64_t rows = 0;
  int64_t columns = 0;

  constexpr int64_t NumPatches() const { return rows * columns; }
  friend constexpr bool operator==(const PatchGrid&, const PatchGrid&) = default;
};

// Patches that become one token.
constexpr int64_t PatchesPerToken(const TilingOptions& options) {
  return options.pixel_shuffle ? 4 : 1;
}

// Of the thumbnail that an image on `grid` has beside it; 0: it has none.
int64_t ThumbnailPatches(const PatchGrid& grid, const TilingOptions& options);

// Pixels of the side of a square that becomes one token.
constexpr int TokenSide(const TilingOptions& options) {
  return options.patch_size * (options.pixel_shuffle ? 2 : 1);
}

// The grid of one image under a budget of patches.
// Precondition: size positive, budget >= min_patches.
PatchGrid FitImage(ImageSize size, int64_t budget, const TilingOptions& options);

// The grid with the most patches and the longest side that an image can have under a budget of
// patches: two rows of them, one without pixel shuffle. Images so thin that their short side would
// round to nothing may exceed it in FitImage, which keeps two rows whatever the budget.
// Precondition: budget >= min_patches.
PatchGrid LargestGrid(int64_t budget, const TilingOptions& options);

// The grids of a sample's images when `token_budget` tokens are left for all of them and their
// thumbnails. Images keep
// at least min_patches each, whatever the budget, so callers check the sum against the sequence.
std::vector<PatchGrid> FitImages(std::span<const ImageSize> sizes, int64_t token_budget,
                                 const TilingOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_TILING_H_
