#include "hetero/data/mock_options.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "absl/strings/str_format.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/data/image_planner.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero::data {
namespace {

absl::Status Positive(std::string_view field, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %d; it is at least 1", field, value));
}

absl::Status CheckGeometry(ImageSize tile, const MockOptions& options) {
  const int64_t step = options.patch_size * (options.pixel_shuffle ? 2 : 1);
  if (tile.height <= 0 || tile.width <= 0 || tile.height % step != 0 || tile.width % step != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tile_size is %d x %d; sides are multiples of %d (patch_size %d, pixel_shuffle %s)",
        tile.height, tile.width, step, options.patch_size, options.pixel_shuffle ? "on" : "off"));
  }
  const int64_t tokens = options.num_tiles * tile.Area() /
                         (options.patch_size * options.patch_size) / options.PatchesPerToken();
  if (tokens != options.image_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "image_tokens is %d, but %d tiles of %d x %d pixels with patch_size %d give %d",
        options.image_tokens, options.num_tiles, tile.height, tile.width, options.patch_size,
        tokens));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t MockOptions::LeastTokens() const { return CeilDiv(min_patches, PatchesPerToken()); }

std::vector<int64_t> MockOptions::SpecialIds() const {
  std::vector<int64_t> ids;
  for (const int64_t id : {image_id, audio_id, pad_id}) {
    if (id >= 1 && id < vocabulary_size) ids.push_back(id);
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

int64_t MockOptions::NumTextIds() const { return vocabulary_size - 1 - std::ssize(SpecialIds()); }

absl::Status Validate(const MockOptions& options) {
  HETERO_RETURN_IF_ERROR(Positive("num_samples", options.num_samples));
  if (options.image_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("image_tokens is %d; it is at least 0", options.image_tokens));
  }
  if (options.SizesDiffer()) {
    HETERO_RETURN_IF_ERROR(Positive("patch_size", options.patch_size));
    HETERO_RETURN_IF_ERROR(Positive("min_patches", options.min_patches));
    if (options.LeastTokens() > options.MostTokens() ||
        options.MostTokens() > options.image_tokens) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "images of %d to %d patches, up to %d tokens a sample; min_patches is at most "
          "max_patches, and an image of so many fits a sample",
          options.min_patches, options.max_patches, options.image_tokens));
    }
  }
  if (options.max_frames > 0) {
    HETERO_RETURN_IF_ERROR(Positive("num_mels", options.num_mels));
    HETERO_RETURN_IF_ERROR(Positive("min_frames", options.min_frames));
    if (options.min_frames > options.max_frames ||
        options.max_frames > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("clips of %d to %d frames; min_frames is at most max_frames",
                          options.min_frames, options.max_frames));
    }
    const int64_t placeholders = options.image_tokens + AudioRows(options.max_frames);
    if (options.sequence_length <= placeholders) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "sequence_length is %d, image_tokens and the longest clip take %d; text needs at least "
          "one position, set sequence_length to %d or more",
          options.sequence_length, placeholders, placeholders + 1));
    }
  }
  if (options.sequence_length <= options.image_tokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence_length is %d and image_tokens %d; text needs at least one "
                        "position, set sequence_length to %d or more",
                        options.sequence_length, options.image_tokens, options.image_tokens + 1));
  }
  if (options.NumTextIds() < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "vocabulary_size is %d: no id is left for text beside 0, image_id %d and pad_id %d",
        options.vocabulary_size, options.image_id, options.pad_id));
  }
  if (options.image_tokens == 0 || options.SizesDiffer()) return absl::OkStatus();
  return TileOf(options).status();
}

absl::StatusOr<ImageSize> TileOf(const MockOptions& options) {
  HETERO_RETURN_IF_ERROR(Positive("num_tiles", options.num_tiles));
  HETERO_RETURN_IF_ERROR(Positive("patch_size", options.patch_size));
  if (options.image_tokens % options.num_tiles != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "image_tokens is %d; it is a multiple of num_tiles = %d, such as %d", options.image_tokens,
        options.num_tiles,
        std::max<int64_t>(1, options.image_tokens / options.num_tiles) * options.num_tiles));
  }
  if (!options.tile_size.has_value()) {
    return NearestSquareTile(options.image_tokens / options.num_tiles, options.patch_size,
                             options.pixel_shuffle);
  }
  HETERO_RETURN_IF_ERROR(CheckGeometry(*options.tile_size, options));
  return *options.tile_size;
}

absl::StatusOr<ImageSize> NearestSquareTile(int64_t num_tokens, int64_t patch_size,
                                            bool pixel_shuffle) {
  constexpr int64_t kMaxSide = std::numeric_limits<int32_t>::max();
  if (num_tokens < 1 || num_tokens > kMaxSide || patch_size < 1 || patch_size > kMaxSide) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a tile of %d tokens in patches of %d pixels; both must be 1 to %d",
                        num_tokens, patch_size, kMaxSide));
  }
  const int64_t patches = num_tokens * (pixel_shuffle ? 4 : 1);
  const int64_t step = pixel_shuffle ? 2 : 1;
  auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(patches)));
  for (; rows >= 1; --rows) {
    if (patches % rows == 0 && rows % step == 0 && patches / rows % step == 0 &&
        patches / rows <= kMaxSide / patch_size) {
      return ImageSize{.height = static_cast<int>(rows * patch_size),
                       .width = static_cast<int>(patches / rows * patch_size)};
    }
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("no grid of patches gives %d tokens a tile", num_tokens));
}

ImageSize NearlySquareImage(int64_t num_tokens, int64_t patch_size, bool pixel_shuffle) {
  const auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(num_tokens)));
  const int64_t side = patch_size * (pixel_shuffle ? 2 : 1);
  return {.height = static_cast<int>(rows * side),
          .width = static_cast<int>(std::min(num_tokens / rows, rows + 1) * side)};
}

SourceLimits ImageLimits(const MockOptions& options) {
  SourceLimits limits = {.feature_width = options.PatchWidth()};
  if (options.image_tokens == 0 || options.image_percent == 0) return limits;
  if (options.SizesDiffer()) {
    const ImageSize largest =
        NearlySquareImage(options.MostTokens(), options.patch_size, options.pixel_shuffle);
    const int64_t patches_per_token = options.PatchesPerToken();
    limits.sizes = {largest};
    limits.max_features = largest.Area() / (options.patch_size * options.patch_size);
    limits.max_tokens = limits.max_features / patches_per_token;
    // No more than these have a token each.
    const int64_t most_images =
        std::min(options.max_images, 1 + options.image_tokens - limits.max_tokens);
    return LimitsOfViews(limits, most_images, options.image_tokens * patches_per_token,
                         {.patch_size = static_cast<int>(options.patch_size),
                          .pixel_shuffle = options.pixel_shuffle});
  }
  limits.sizes.assign(static_cast<size_t>(options.num_tiles), TileOf(options).value());
  limits.max_features = options.image_tokens * options.PatchesPerToken();
  limits.max_tokens = options.image_tokens;
  return limits;
}

SourceLimits ClipLimits(const MockOptions& options) {
  SourceLimits limits = {.feature_width = options.num_mels};
  if (options.max_frames == 0 || options.audio_percent == 0) return limits;
  limits.sizes = {{.height = static_cast<int>(options.max_frames), .width = 1}};
  limits.max_features = options.max_frames;
  limits.max_tokens = AudioRows(options.max_frames);
  return limits;
}

}  // namespace hetero::data
