#include "hetero/data/image/tiles.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_format.h"

namespace hetero::data {
namespace {

// Limits that a sample with too many tiles goes through, as the reference has them.
constexpr int kLowerLimits[] = {12, 8, 6, 4, 2, 1};

int NextLimit(int max_tiles) {
  return *std::ranges::find_if(kLowerLimits, [&](int limit) { return limit < max_tiles; });
}

}  // namespace

absl::Status Validate(const TileOptions& options, int step) {
  if (options.size < step || options.size % step != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("size is %d pixels; it is a multiple of %d, the pixels of a token's side",
                        options.size, step));
  }
  if (options.max_tiles < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_tiles is %d; it is at least 1", options.max_tiles));
  }
  return absl::OkStatus();
}

int64_t NumTiles(const TileGrid& grid, const TileOptions& options) {
  const int64_t tiles = grid.NumTiles();
  return options.thumbnail && tiles > 1 ? tiles + 1 : tiles;
}

int64_t MostTiles(int64_t budget, const TileOptions& options) {
  const int64_t with_thumbnail = options.thumbnail ? 1 : 0;
  const int64_t tiles = std::min<int64_t>(options.max_tiles, budget - with_thumbnail);
  return tiles > 1 ? tiles + with_thumbnail : 1;
}

// Grids go by their number of tiles. Which of equally many comes first is of no account: between
// two ratios x1*x1/n < x2*x2/n of n tiles lies x1*x2/n, that of a grid of fewer tiles, and it is
// nearer than both to whatever is equally far from them.
TileGrid ChooseTileGrid(ImageSize image, int max_tiles, int tile_size) {
  const double ratio = static_cast<double>(image.width) / image.height;
  const double tile_area = static_cast<double>(tile_size) * tile_size;
  double least = std::numeric_limits<double>::infinity();
  TileGrid best;
  for (int tiles = 1; tiles <= max_tiles; ++tiles) {
    for (int columns = 1; columns <= tiles; ++columns) {
      if (tiles % columns != 0) continue;
      const TileGrid grid = {.columns = columns, .rows = tiles / columns};
      const double distance = std::abs(ratio - static_cast<double>(grid.columns) / grid.rows);
      const bool is_filled = static_cast<double>(image.Area()) > 0.5 * tile_area * tiles;
      if (distance < least || (distance == least && is_filled)) {
        least = distance;
        best = grid;
      }
    }
  }
  return best;
}

std::vector<TileGrid> FitTiles(std::span<const ImageSize> images, int64_t budget,
                               const TileOptions& options) {
  std::vector<TileGrid> grids(images.size());
  for (int limit = options.max_tiles;; limit = NextLimit(limit)) {
    int64_t total = 0;
    for (size_t i = 0; i < images.size(); ++i) {
      grids[i] = ChooseTileGrid(images[i], limit, options.size);
      total += NumTiles(grids[i], options);
    }
    if (total <= budget || limit == 1) return grids;
  }
}

std::vector<ImageView> TileViews(const TileGrid& grid, const TileOptions& options) {
  const ImageSize tile = {.height = options.size, .width = options.size};
  const ImageSize scaled = {.height = grid.rows * options.size,
                            .width = grid.columns * options.size};
  std::vector<ImageView> views;
  for (int row = 0; row < grid.rows; ++row) {
    for (int column = 0; column < grid.columns; ++column) {
      views.push_back({.scaled = scaled,
                       .top = row * options.size,
                       .left = column * options.size,
                       .size = tile});
    }
  }
  if (NumTiles(grid, options) > grid.NumTiles()) views.push_back(WholeImage(tile));
  return views;
}

}  // namespace hetero::data
