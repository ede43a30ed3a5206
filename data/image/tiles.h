#ifndef HETERO_DATA_IMAGE_TILES_H_
#define HETERO_DATA_IMAGE_TILES_H_

// Images cut into square tiles of one size: how many tiles the images of a sample get, and which
// pixels each shows. The choice is Megatron-LM's (examples/multimodal, use_tiling); pure functions
// of sizes.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/view.h"

namespace hetero::data {

struct TileOptions {
  int size = 0;            // pixels of a side
  int max_tiles = 1;       // of an image, without its thumbnail
  bool thumbnail = false;  // an image of several tiles is seen whole as well, on one tile more

  bool operator==(const TileOptions&) const = default;
};

// Errors: INVALID_ARGUMENT naming the field, for a side that is no multiple of `step` pixels too.
absl::Status Validate(const TileOptions& options, int step);

// An image scaled to columns * size by rows * size pixels.
struct TileGrid {
  int columns = 1;
  int rows = 1;

  constexpr int NumTiles() const { return columns * rows; }
  friend constexpr bool operator==(const TileGrid&, const TileGrid&) = default;
};

// The tiles that the encoder sees of an image on `grid`: with its thumbnail.
int64_t NumTiles(const TileGrid& grid, const TileOptions& options);

// The most tiles, thumbnail included, of an image that has at most `budget` of them; at least 1.
int64_t MostTiles(int64_t budget, const TileOptions& options);

// The grid of at most `max_tiles` tiles whose ratio of sides is nearest to the image's. Of several
// grids of one ratio it is the largest of which the image's pixels fill more than half.
// Precondition: the size is positive, max_tiles is.
TileGrid ChooseTileGrid(ImageSize image, int max_tiles, int tile_size);

// The grids of a sample's images of which all tiles together are at most `budget`: while they are
// more, all images get the next lower limit of 12, 8, 6, 4, 2 and 1 tiles. With one tile each they
// may still be more.
std::vector<TileGrid> FitTiles(std::span<const ImageSize> images, int64_t budget,
                               const TileOptions& options);

// Row by row, the thumbnail last.
std::vector<ImageView> TileViews(const TileGrid& grid, const TileOptions& options);

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_TILES_H_
