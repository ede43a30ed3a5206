#include "hetero/data/image_planner.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/tiles.h"

namespace hetero::data {
namespace {

// Positions that the reference keeps free beside text and image tokens when it sizes images.
constexpr int64_t kReservedPositions = 4;

constexpr ImageSize kThumbnail = {.height = kThumbnailSide, .width = kThumbnailSide};

ImageSize PixelsOf(const PatchGrid& grid, int patch_size) {
  return {.height = static_cast<int>(grid.rows) * patch_size,
          .width = static_cast<int>(grid.columns) * patch_size};
}

ImageSize TileOf(const TileOptions& tiles) { return {.height = tiles.size, .width = tiles.size}; }

}  // namespace

absl::Status CheckSequenceLength(int64_t sequence_length) {
  if (sequence_length > kReservedPositions) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("sequence_length is %d; it is larger than %d",
                                                    sequence_length, kReservedPositions));
}

ImagePlanner::ImagePlanner(const TilingOptions& tiling, int64_t sequence_length)
    : tiling_(tiling), sequence_length_(sequence_length) {
  // Beside a text of one token; FitImages never gives an image less than min_patches.
  const int64_t tokens = std::max<int64_t>(sequence_length_ - 1 - kReservedPositions, 0);
  int64_t budget = tokens * PatchesPerToken(tiling_);
  if (tiling_.tiles.has_value()) {
    const ImageSize tile = TileOf(*tiling_.tiles);
    const int64_t count = MostTiles(budget / NumPatches(tile), *tiling_.tiles);
    largest_.assign(count, tile);
    max_patches_ = count * NumPatches(tile);
    return;
  }
  if (tiling_.max_patches > 0) budget = std::min(budget, tiling_.max_patches);
  budget = std::max<int64_t>(budget, tiling_.min_patches);
  const PatchGrid largest = LargestGrid(budget, tiling_);
  largest_ = {PixelsOf(largest, tiling_.patch_size)};
  max_patches_ = largest.NumPatches();
  if (!tiling_.thumbnails) return;
  // An image that is just small enough to have one.
  const auto small = static_cast<int64_t>(kThumbnailShare * NumPatches(kThumbnail));
  const PatchGrid beside = LargestGrid(std::min(budget, small), tiling_);
  const int64_t patches = beside.NumPatches() + NumPatches(kThumbnail);
  if (patches > max_patches_) {
    largest_ = {PixelsOf(beside, tiling_.patch_size), kThumbnail};
    max_patches_ = patches;
  } else {
    // As many views as any image has.
    const PatchGrid token = LargestGrid(PatchesPerToken(tiling_), tiling_);
    largest_.push_back(PixelsOf(token, tiling_.patch_size));
    max_patches_ += token.NumPatches();
  }
}

std::vector<std::vector<ImageView>> ImagePlanner::Plan(std::span<const ImageSize> images,
                                                       int64_t text_size) const {
  const int64_t budget = std::max<int64_t>(sequence_length_ - text_size - kReservedPositions, 0);
  std::vector<std::vector<ImageView>> plan;
  if (tiling_.tiles.has_value()) {
    const int64_t num_tiles =
        budget * PatchesPerToken(tiling_) / NumPatches(TileOf(*tiling_.tiles));
    for (const TileGrid& grid : FitTiles(images, num_tiles, *tiling_.tiles)) {
      plan.push_back(TileViews(grid, *tiling_.tiles));
    }
    return plan;
  }
  for (const PatchGrid& grid : FitImages(images, budget, tiling_)) {
    std::vector<ImageView>& views = plan.emplace_back();
    views.push_back(WholeImage(PixelsOf(grid, tiling_.patch_size)));
    if (ThumbnailPatches(grid, tiling_) > 0) views.push_back(WholeImage(kThumbnail));
  }
  return plan;
}

absl::Status ImagePlanner::Check(ImageSize image, std::span<const ImageView> views) const {
  const int64_t patches = NumTokens(views) * PatchesPerToken(tiling_);
  if (patches <= max_patches_) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat(
      "the image of %d x %d pixels (height x width) is so thin that it takes %d patches; "
      "max_patches and the sequence length allow %d",
      image.height, image.width, patches, max_patches_));
}

int64_t ImagePlanner::NumTokens(std::span<const ImageView> views) const {
  int64_t patches = 0;
  for (const ImageView& view : views) patches += NumPatches(view.size);
  return patches / PatchesPerToken(tiling_);
}

SourceLimits ImagePlanner::Limits() const {
  return {.feature_width = Patchifier::PatchElements(tiling_.patch_size),
          .sizes = largest_,
          .max_features = max_patches_,
          .max_tokens = max_patches_ / PatchesPerToken(tiling_)};
}

SourceLimits LimitsOfViews(const SourceLimits& one, int64_t num_views, int64_t num_patches,
                           const TilingOptions& tiling) {
  const int64_t step = PatchesPerToken(tiling);
  SourceLimits limits = one;
  if (tiling.tiles.has_value()) {
    const ImageSize tile = TileOf(*tiling.tiles);
    const int64_t patches = tile.Area() / (int64_t{tiling.patch_size} * tiling.patch_size);
    limits.sizes.assign(std::min(num_views, num_patches / patches), tile);
    limits.max_features = std::ssize(limits.sizes) * patches;
    limits.max_tokens = limits.max_features / step;
    return limits;
  }
  limits.max_tokens = std::min(num_patches / step, num_views * one.max_tokens);
  limits.max_features = limits.max_tokens * step;
  const int side = TokenSide(tiling);
  int64_t tokens_left = limits.max_tokens - one.max_tokens;
  for (int64_t left = num_views - std::ssize(one.sizes); left > 0; --left) {
    const int64_t tokens = tokens_left / left;
    tokens_left -= tokens;
    limits.sizes.push_back({.height = side, .width = static_cast<int>(side * tokens)});
  }
  return limits;
}

}  // namespace hetero::data
