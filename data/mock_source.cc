#include "hetero/data/mock_source.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/data/counter_hash.h"
#include "hetero/data/image_planner.h"
#include "hetero/tensor/audio_batch.h"

namespace hetero::data {
namespace {

// Purposes of a sample's random streams.
constexpr uint64_t kTextStream = 0;
constexpr uint64_t kPixelStream = 1;
constexpr uint64_t kFrameStream = 2;
constexpr uint64_t kHasImagesStream = 3;
constexpr uint64_t kHasAudioStream = 4;
constexpr uint64_t kLengthStream = 5;
constexpr uint64_t kImageSizesStream = 6;

// Uniform in [-1, 1).
void FillUniform(uint64_t stream, uint64_t& counter, std::span<float> values) {
  for (float& value : values) {
    const auto word = static_cast<uint32_t>(CounterHash(stream, counter++) >> 40);
    value = static_cast<float>(word) * 0x1p-23f - 1.0f;
  }
}

int64_t PatchesPerToken(bool pixel_shuffle) { return pixel_shuffle ? 4 : 1; }

int64_t PatchWidth(const MockOptions& options) {
  return 3 * options.patch_size * options.patch_size;
}

bool SizesDiffer(const MockOptions& options) { return options.max_images > 0; }

// Tokens of the smallest and of the largest image. Precondition: SizesDiffer.
int64_t LeastTokens(const MockOptions& options) {
  return CeilDiv(options.min_patches, PatchesPerToken(options.pixel_shuffle));
}
int64_t MostTokens(const MockOptions& options) {
  return options.max_patches / PatchesPerToken(options.pixel_shuffle);
}

// The number from `least` to `most` at which the density 1 / x^2 reaches the share `word` / 2^64.
int64_t LongTailed(uint64_t word, int64_t least, int64_t most) {
  const double share = static_cast<double>(word >> 11) * 0x1p-53;
  const double ratio = static_cast<double>(least) / static_cast<double>(most);
  const auto number = static_cast<int64_t>(static_cast<double>(least) / (1 - share * (1 - ratio)));
  return std::clamp(number, least, most);
}

absl::Status Positive(std::string_view field, int64_t value) {
  if (value > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("%s is %d; it is at least 1", field, value));
}

// Ids that text does not take, ascending.
std::vector<int64_t> SpecialIds(const MockOptions& options) {
  std::vector<int64_t> ids;
  for (const int64_t id : {options.image_id, options.audio_id, options.pad_id}) {
    if (id >= 1 && id < options.vocabulary_size) ids.push_back(id);
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// Ids that text may take: 1 to vocabulary - 1 without the special ones.
int64_t PoolSize(const MockOptions& options) {
  return options.vocabulary_size - 1 - std::ssize(SpecialIds(options));
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
  if (SizesDiffer(options)) {
    HETERO_RETURN_IF_ERROR(Positive("patch_size", options.patch_size));
    HETERO_RETURN_IF_ERROR(Positive("min_patches", options.min_patches));
    if (LeastTokens(options) > MostTokens(options) || MostTokens(options) > options.image_tokens) {
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

ImageSize NearlySquareImage(int64_t num_tokens, int64_t patch_size, bool pixel_shuffle) {
  const auto rows = static_cast<int64_t>(std::sqrt(static_cast<double>(num_tokens)));
  const int64_t side = patch_size * (pixel_shuffle ? 2 : 1);
  return {.height = static_cast<int>(rows * side),
          .width = static_cast<int>(std::min(num_tokens / rows, rows + 1) * side)};
}

SourceLimits ImageLimits(const MockOptions& options) {
  SourceLimits limits = {.feature_width = PatchWidth(options)};
  if (options.image_tokens == 0 || options.image_percent == 0) return limits;
  if (SizesDiffer(options)) {
    const ImageSize largest =
        NearlySquareImage(MostTokens(options), options.patch_size, options.pixel_shuffle);
    const int64_t patches_per_token = PatchesPerToken(options.pixel_shuffle);
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
  limits.max_features = options.image_tokens * PatchesPerToken(options.pixel_shuffle);
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

absl::StatusOr<std::unique_ptr<MockSource>> MockSource::Create(const MockOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options)).With("mock data");
  if (options.image_tokens == 0 || SizesDiffer(options)) {
    return std::unique_ptr<MockSource>(new MockSource(options, ImageSize()));
  }
  const absl::StatusOr<ImageSize> tile = TileOf(options);
  HETERO_RETURN_IF_ERROR(tile.status()).With("mock data");
  return std::unique_ptr<MockSource>(new MockSource(options, *tile));
}

uint64_t MockSource::SampleStream(int64_t index, uint64_t purpose) const {
  return CounterHash(StreamOf(options_.seed, options_.split, static_cast<uint64_t>(index)),
                     purpose);
}

bool MockSource::HasImages(int64_t index) const {
  if (options_.image_tokens == 0) return false;
  return static_cast<int64_t>(Below(SampleStream(index, kHasImagesStream), 100)) <
         options_.image_percent;
}

int64_t MockSource::NumTokens(ImageSize size) const {
  return NumPatches(size) / PatchesPerToken(options_.pixel_shuffle);
}

std::vector<ImageSize> MockSource::ImagesOf(int64_t index) const {
  if (!HasImages(index)) return {};
  if (!SizesDiffer(options_)) {
    return std::vector<ImageSize>(static_cast<size_t>(options_.num_tiles), tile_);
  }
  const uint64_t stream = SampleStream(index, kImageSizesStream);
  const auto most_images = static_cast<uint64_t>(options_.max_images);
  const auto count = 1 + static_cast<int64_t>(Below(CounterHash(stream, 0), most_images));
  std::vector<ImageSize> images;
  int64_t room = options_.image_tokens;
  for (int64_t i = 1; i <= count; ++i) {
    const int64_t tokens = LongTailed(CounterHash(stream, static_cast<uint64_t>(i)),
                                      LeastTokens(options_), MostTokens(options_));
    const ImageSize image = NearlySquareImage(tokens, options_.patch_size, options_.pixel_shuffle);
    room -= NumTokens(image);
    if (room < 0) break;
    images.push_back(image);
  }
  return images;
}

int64_t MockSource::NumFrames(int64_t index) const {
  if (options_.max_frames == 0) return 0;
  if (static_cast<int64_t>(Below(SampleStream(index, kHasAudioStream), 100)) >=
      options_.audio_percent) {
    return 0;
  }
  const auto lengths = static_cast<uint64_t>(options_.max_frames - options_.min_frames + 1);
  return options_.min_frames +
         static_cast<int64_t>(Below(SampleStream(index, kLengthStream), lengths));
}

int64_t MockSource::feature_width(int modality) const {
  if (modality == options_.image_modality && options_.image_tokens > 0) return PatchWidth(options_);
  if (modality == options_.audio_modality && options_.max_frames > 0) return options_.num_mels;
  return 0;
}

absl::Status MockSource::ReadLanguage(int64_t index, LanguageSample& out) {
  SampleFacts facts;
  HETERO_RETURN_IF_ERROR(ReadFacts(index, facts));
  out.name = absl::StrCat("mock sample ", index);
  out.media.clear();
  int64_t num_text = options_.sequence_length;
  for (size_t m = 0; m < facts.modalities.size(); ++m) {
    for (const IndexRange& run : facts.modalities[m].runs) {
      out.media.push_back({.modality = static_cast<int>(m), .tokens = run});
      num_text -= run.count;
    }
  }
  out.text.clear();
  const uint64_t stream = SampleStream(index, kTextStream);
  const auto pool = static_cast<uint64_t>(PoolSize(options_));
  const std::vector<int64_t> special_ids = SpecialIds(options_);
  for (int64_t t = 0; t < num_text; ++t) {
    int64_t id =
        1 + static_cast<int64_t>(Below(CounterHash(stream, static_cast<uint64_t>(t)), pool));
    for (const int64_t special : special_ids) {
      if (id >= special) ++id;
    }
    out.text.push_back(static_cast<int32_t>(id));
  }
  out.labels = out.text;
  return absl::OkStatus();
}

absl::Status MockSource::ReadFacts(int64_t index, SampleFacts& facts) {
  if (std::vector<ImageSize> sizes = ImagesOf(index); !sizes.empty()) {
    ModalityFacts& images = FactsOf(facts, options_.image_modality);
    for (const ImageSize size : sizes) images.num_tokens += NumTokens(size);
    images.sizes = std::move(sizes);
  }
  if (const int64_t frames = NumFrames(index); frames > 0) {
    ModalityFacts& clips = FactsOf(facts, options_.audio_modality);
    clips.num_tokens = AudioRows(frames);
    clips.sizes.assign(1, {.height = static_cast<int>(frames), .width = 1});
  }
  int64_t next = 0;
  for (ModalityFacts& modality : facts.modalities) {
    if (modality.num_tokens > 0) modality.runs.assign(1, {next, modality.num_tokens});
    next += modality.num_tokens;
  }
  return absl::OkStatus();
}

absl::Status MockSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  uint64_t counter = 0;
  if (modality == options_.image_modality && HasImages(index)) {
    for (const ImageSize size : ImagesOf(index)) {
      if (!out.Wants()) {
        counter += static_cast<uint64_t>(NumPatches(size) * PatchWidth(options_));
        out.Pass();
        continue;
      }
      FillUniform(SampleStream(index, kPixelStream), counter,
                  out.Add(size, NumPatches(size), NumTokens(size)));
    }
    return absl::OkStatus();
  }
  const int64_t frames = modality == options_.audio_modality ? NumFrames(index) : 0;
  if (frames == 0) return absl::OkStatus();
  FillUniform(SampleStream(index, kFrameStream), counter,
              out.Add({.height = static_cast<int>(frames), .width = 1}, frames, AudioRows(frames)));
  return absl::OkStatus();
}

}  // namespace hetero::data
