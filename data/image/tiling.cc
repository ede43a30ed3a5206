#include "hetero/data/image/tiling.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// Scaling down by a common factor converges in a few rounds or not at all.
constexpr int kMaxRounds = 10;

// Half to even, as std::nearbyint does in the default rounding mode.
double PatchesAlong(int pixels, int patch_size) {
  return std::nearbyint(static_cast<double>(pixels) / patch_size + 0.5);
}

int64_t MultipleOf(int64_t divisor, int64_t value, int64_t other, int64_t budget) {
  const int64_t remainder = value % divisor;
  if (remainder == 0) return value;
  const int64_t grown = value + divisor - remainder;
  return grown * other <= budget ? grown : std::max(divisor, value - remainder);
}

// A side that rounded to zero becomes one step; the other keeps what the budget then allows.
PatchGrid ThinGrid(int64_t rows, int64_t columns, int64_t budget, int64_t divisor) {
  const auto capped = [&](int64_t side) {
    return std::max(divisor, std::min(side, budget / divisor) / divisor * divisor);
  };
  return rows == 0 ? PatchGrid{.rows = divisor, .columns = capped(columns)}
                   : PatchGrid{.rows = capped(rows), .columns = divisor};
}

}  // namespace

absl::Status Validate(const TilingOptions& options) {
  if (options.patch_size < 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("patch_size is %d; it is at least 1", options.patch_size));
  }
  if (options.tiles.has_value()) {
    if (options.thumbnails) {
      return absl::InvalidArgumentError("thumbnails is set; images of tiles have tiles.thumbnail");
    }
    HETERO_RETURN_IF_ERROR(Validate(*options.tiles, TokenSide(options))).With("tiles");
    return absl::OkStatus();
  }
  const int64_t smallest = PatchesPerToken(options);
  if (options.min_patches < smallest) {
    return absl::InvalidArgumentError(
        absl::StrFormat("min_patches is %d; with pixel_shuffle %s it is at least %d",
                        options.min_patches, options.pixel_shuffle ? "on" : "off", smallest));
  }
  if (options.max_patches != 0 && options.max_patches < options.min_patches) {
    return absl::InvalidArgumentError(
        absl::StrFormat("max_patches is %d; it is 0 (no limit) or at least min_patches = %d",
                        options.max_patches, options.min_patches));
  }
  const int step = TokenSide(options);
  if (options.thumbnails && kThumbnailSide % step != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "thumbnails is set, and their side of %d pixels is no multiple of %d (patch_size %d, "
        "pixel_shuffle %s)",
        kThumbnailSide, step, options.patch_size, options.pixel_shuffle ? "on" : "off"));
  }
  return absl::OkStatus();
}

int64_t ThumbnailPatches(const PatchGrid& grid, const TilingOptions& options) {
  if (!options.thumbnails) return 0;
  const int64_t side = kThumbnailSide / options.patch_size;
  const auto share = static_cast<double>(grid.NumPatches()) / static_cast<double>(side * side);
  return share < kThumbnailShare ? side * side : 0;
}

PatchGrid FitImage(ImageSize size, int64_t budget, const TilingOptions& options) {
  const int64_t divisor = options.pixel_shuffle ? 2 : 1;
  const double rows_wanted = PatchesAlong(size.height, options.patch_size);
  const double columns_wanted = PatchesAlong(size.width, options.patch_size);
  const double factor =
      std::min(std::sqrt(static_cast<double>(budget) / (rows_wanted * columns_wanted)), 1.0);
  auto rows = static_cast<int64_t>(std::floor(factor * rows_wanted));
  auto columns = static_cast<int64_t>(std::floor(factor * columns_wanted));
  if (rows == 0 || columns == 0) return ThinGrid(rows, columns, budget, divisor);
  if (budget > options.min_patches && rows * columns < options.min_patches) {
    const double grow =
        std::sqrt(static_cast<double>(options.min_patches) / static_cast<double>(rows * columns));
    rows = static_cast<int64_t>(std::ceil(grow * static_cast<double>(rows)));
    columns = static_cast<int64_t>(std::ceil(grow * static_cast<double>(columns)));
  }
  rows = MultipleOf(divisor, rows, columns, budget);
  columns = MultipleOf(divisor, columns, rows, budget);
  return {.rows = rows, .columns = columns};
}

PatchGrid LargestGrid(int64_t budget, const TilingOptions& options) {
  const int64_t divisor = options.pixel_shuffle ? 2 : 1;
  return {.rows = divisor, .columns = budget / divisor / divisor * divisor};
}

std::vector<PatchGrid> FitImages(std::span<const ImageSize> sizes, int64_t token_budget,
                                 const TilingOptions& options) {
  const int64_t min_patches = options.min_patches;
  const int64_t limit = std::max(PatchesPerToken(options) * token_budget,
                                 min_patches * static_cast<int64_t>(sizes.size()));
  const int64_t per_image = options.max_patches == 0 ? limit : std::min(limit, options.max_patches);
  std::vector<int64_t> budgets(sizes.size(), std::max(per_image, min_patches));
  std::vector<PatchGrid> grids(sizes.size());
  for (int round = 0; round < kMaxRounds; ++round) {
    int64_t total = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      grids[i] = FitImage(sizes[i], budgets[i], options);
      total += grids[i].NumPatches() + ThumbnailPatches(grids[i], options);
    }
    if (total <= limit) break;
    const double scale = static_cast<double>(limit) / static_cast<double>(total);
    bool shrunk = false;
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto scaled = static_cast<int64_t>(static_cast<double>(grids[i].NumPatches()) * scale);
      const int64_t next = std::max(min_patches, scaled);
      shrunk = shrunk || next < budgets[i];
      budgets[i] = next;
    }
    if (!shrunk) std::fill(budgets.begin(), budgets.end(), min_patches);
  }
  return grids;
}

}  // namespace hetero::data
