#include "hetero/data/mock_source.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/counter_hash.h"

namespace hetero::data {
namespace {

// Purposes of a sample's random streams.
constexpr uint64_t kTextStream = 0;
constexpr uint64_t kPixelStream = 1;

int64_t PatchesPerToken(bool pixel_shuffle) { return pixel_shuffle ? 4 : 1; }

absl::Status Positive(std::string_view field, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %d; it is at least 1", field, value));
}

// Ids that text may take: 1 to vocabulary - 1 without the two special ones.
int64_t PoolSize(const MockOptions& options) {
  const auto in_range = [&](int64_t id) { return id >= 1 && id < options.vocabulary_size; };
  return options.vocabulary_size - 1 - (in_range(options.image_id) ? 1 : 0) -
         (in_range(options.pad_id) && options.pad_id != options.image_id ? 1 : 0);
}

absl::Status CheckGeometry(ImageSize tile, const MockOptions& options) {
  const int64_t step = options.patch_size * (options.pixel_shuffle ? 2 : 1);
  if (tile.height <= 0 || tile.width <= 0 || tile.height % step != 0 || tile.width % step != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "tile_size is %d x %d; sides are multiples of %d (patch_size %d, pixel_shuffle %s)",
        tile.height, tile.width, step, options.patch_size, options.pixel_shuffle ? "on" : "off"));
  }
  const int64_t tokens = options.num_tiles * tile.Area() /
                         (options.patch_size * options.patch_size) /
                         PatchesPerToken(options.pixel_shuffle);
  if (tokens != options.image_tokens) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "image_tokens is %d, but %d tiles of %d x %d pixels with patch_size %d give %d",
        options.image_tokens, options.num_tiles, tile.height, tile.width, options.patch_size,
        tokens));
  }
  return absl::OkStatus();
}

absl::Status Validate(const MockOptions& options) {
  HETERO_RETURN_IF_ERROR(Positive("num_samples", options.num_samples));
  if (options.image_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("image_tokens is %d; it is at least 0", options.image_tokens));
  }
  if (options.sequence_length <= options.image_tokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("sequence_length is %d and image_tokens %d; text needs at least one "
                        "position, set sequence_length to %d or more",
                        options.sequence_length, options.image_tokens, options.image_tokens + 1));
  }
  if (PoolSize(options) < 1) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "vocabulary_size is %d: no id is left for text beside 0, image_id %d and pad_id %d",
        options.vocabulary_size, options.image_id, options.pad_id));
  }
  return absl::OkStatus();
}

// Precondition: image_tokens > 0.
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

}  // namespace

absl::StatusOr<ImageSize> NearestSquareTile(int64_t num_tokens, int64_t patch_size,
                                            bool pixel_shuffle) {
  constexpr int64_t kMaxSide = std::numeric_limits<int32_t>::max();
  if (num_tokens < 1 || num_tokens > kMaxSide || patch_size < 1 || patch_size > kMaxSide) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a tile of %d tokens in patches of %d pixels; both must be 1 to %d",
                        num_tokens, patch_size, kMaxSide));
  }
  const int64_t patches = num_tokens * PatchesPerToken(pixel_shuffle);
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

absl::StatusOr<std::unique_ptr<MockSource>> MockSource::Create(const MockOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options)).With("mock data");
  if (options.image_tokens == 0) {
    return std::unique_ptr<MockSource>(new MockSource(options, ImageSize()));
  }
  const absl::StatusOr<ImageSize> tile = TileOf(options);
  HETERO_RETURN_IF_ERROR(tile.status()).With("mock data");
  return std::unique_ptr<MockSource>(new MockSource(options, *tile));
}

SourceLimits MockSource::limits() const {
  if (options_.image_tokens == 0) return SourceLimits();
  return {.patch_elements = 3 * options_.patch_size * options_.patch_size,
          .max_images = options_.num_tiles,
          .max_patches = options_.num_tiles * PatchesPerTile(),
          .max_image_tokens = options_.image_tokens};
}

absl::Status MockSource::ReadLanguage(int64_t index, LanguageSample& out) {
  out.name = absl::StrCat("mock sample ", index);
  out.num_image_tokens = options_.image_tokens;
  out.text.clear();
  const uint64_t stream = CounterHash(
      StreamOf(options_.seed, options_.split, static_cast<uint64_t>(index)), kTextStream);
  const auto pool = static_cast<uint64_t>(PoolSize(options_));
  const int64_t low = std::min(options_.image_id, options_.pad_id);
  const int64_t high = std::max(options_.image_id, options_.pad_id);
  const int64_t num_text = options_.sequence_length - options_.image_tokens;
  for (int64_t t = 0; t < num_text; ++t) {
    int64_t id =
        1 + static_cast<int64_t>(Below(CounterHash(stream, static_cast<uint64_t>(t)), pool));
    if (low >= 1 && id >= low) ++id;
    if (high >= 1 && high != low && id >= high) ++id;
    out.text.push_back(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status MockSource::ReadFacts(int64_t, SampleFacts& facts) {
  facts.images.assign(options_.image_tokens == 0 ? 0 : options_.num_tiles, tile_);
  facts.num_image_tokens = options_.image_tokens;
  return absl::OkStatus();
}

absl::Status MockSource::ReadImages(int64_t index, ImageBatch& out) {
  if (options_.image_tokens == 0) return absl::OkStatus();
  const uint64_t stream = CounterHash(
      StreamOf(options_.seed, options_.split, static_cast<uint64_t>(index)), kPixelStream);
  uint64_t counter = 0;
  for (int64_t tile = 0; tile < options_.num_tiles; ++tile) {
    const std::span<float> patches =
        out.AddImage(tile_, PatchesPerTile(), options_.image_tokens / options_.num_tiles);
    for (float& value : patches) {
      const auto word = static_cast<uint32_t>(CounterHash(stream, counter++) >> 40);
      value = static_cast<float>(word) * 0x1p-23f - 1.0f;
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
