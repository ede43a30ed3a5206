#include "hetero/data/caption_source.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/webdataset/field.h"
#include "hetero/data/webdataset/prepare_command.h"

namespace hetero::data {
namespace {

// Positions that the reference keeps free beside text and image tokens when it sizes images.
constexpr int64_t kReservedPositions = 4;

// Copies `image` into the middle of a black canvas of `size`.
void PlaceOnCanvas(const Image& image, ImageSize size, Image& canvas) {
  canvas.Reshape(size, image.channels);
  std::fill(canvas.pixels.begin(), canvas.pixels.end(), uint8_t{0});
  const int top = (size.height - image.size.height) / 2;
  const int left = (size.width - image.size.width) / 2;
  const size_t row_bytes = static_cast<size_t>(image.size.width) * image.channels;
  for (int y = 0; y < image.size.height; ++y) {
    const size_t to = (static_cast<size_t>(top + y) * size.width + left) * image.channels;
    std::copy_n(image.pixels.data() + y * row_bytes, row_bytes, canvas.pixels.data() + to);
  }
}

// For a run it is all one why an image has no pixels, unless the machine is short of something.
absl::Status BytesAtFault(const absl::Status& cause) {
  return absl::IsResourceExhausted(cause) ? cause : absl::DataLossError(cause.message());
}

// No other image has more patches.
ImageSize LargestImage(const CaptionOptions& options) {
  if (!options.canvases.empty()) {
    return *std::ranges::max_element(options.canvases, {}, [](const ImageSize& canvas) {
      return int64_t{canvas.height} * canvas.width;
    });
  }
  // Beside no text but its end; FitImages never gives an image less than min_patches.
  const TilingOptions& tiling = options.tiling;
  const int64_t tokens = std::max<int64_t>(options.sequence_length - 1 - kReservedPositions, 0);
  int64_t budget = tokens * PatchesPerToken(tiling);
  if (tiling.max_patches > 0) budget = std::min(budget, tiling.max_patches);
  const PatchGrid grid = LargestGrid(std::max<int64_t>(budget, tiling.min_patches), tiling);
  return {.height = static_cast<int>(grid.rows) * tiling.patch_size,
          .width = static_cast<int>(grid.columns) * tiling.patch_size};
}

}  // namespace

absl::Status Validate(const CaptionOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options.tiling)).With("tiling");
  if (options.sequence_length <= kReservedPositions) {
    return absl::InvalidArgumentError(absl::StrFormat("sequence_length is %d; it is larger than %d",
                                                      options.sequence_length, kReservedPositions));
  }
  const int step = options.tiling.patch_size * (options.tiling.pixel_shuffle ? 2 : 1);
  for (const ImageSize& canvas : options.canvases) {
    if (canvas.height <= 0 || canvas.width <= 0 || canvas.height % step != 0 ||
        canvas.width % step != 0) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "canvas %d x %d: sides are multiples of %d (patch size %d, pixel shuffle %s)",
          canvas.height, canvas.width, step, options.tiling.patch_size,
          options.tiling.pixel_shuffle ? "on" : "off"));
    }
  }
  return absl::OkStatus();
}

SourceLimits LimitsOf(const CaptionOptions& options) {
  const Patchifier patchifier(options.tiling.patch_size, options.normalization);
  const ImageSize largest = LargestImage(options);
  const int64_t num_patches = patchifier.NumPatches(largest);
  return {.feature_width = patchifier.patch_elements(),
          .sizes = {largest},
          .max_features = num_patches,
          .max_tokens = num_patches / PatchesPerToken(options.tiling)};
}

CaptionSource::CaptionSource(std::shared_ptr<const Dataset> dataset, const CaptionOptions& options)
    : dataset_(std::move(dataset)),
      options_(options),
      patchifier_(options.tiling.patch_size, options.normalization) {}

absl::StatusOr<std::unique_ptr<CaptionSource>> CaptionSource::Create(
    std::shared_ptr<const Dataset> dataset, const CaptionOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options));
  return std::unique_ptr<CaptionSource>(new CaptionSource(std::move(dataset), options));
}

int64_t CaptionSource::feature_width(int modality) const {
  return modality == options_.image_modality ? patchifier_.patch_elements() : 0;
}

absl::StatusOr<ImageSize> CaptionSource::TileOf(ImageSize image, int64_t text_size) const {
  const int64_t budget =
      std::max<int64_t>(options_.sequence_length - text_size - kReservedPositions, 0);
  const PatchGrid grid = FitImages(std::span(&image, 1), budget, options_.tiling).front();
  const int64_t most = patchifier_.NumPatches(LargestImage(options_));
  if (grid.NumPatches() > most) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the image of %d x %d pixels (height x width) is so thin that it takes %d patches; "
        "max_patches and the sequence length allow %d",
        image.height, image.width, grid.NumPatches(), most));
  }
  return ImageSize{.height = static_cast<int>(grid.rows) * options_.tiling.patch_size,
                   .width = static_cast<int>(grid.columns) * options_.tiling.patch_size};
}

ImageSize CaptionSource::CanvasOf(int64_t index) const {
  const auto count = static_cast<int64_t>(options_.canvases.size());
  return options_.canvases[dataset_->Position(index) % count];
}

int64_t CaptionSource::NumTokens(ImageSize size) const {
  return patchifier_.NumPatches(size) / PatchesPerToken(options_.tiling);
}

absl::Status CaptionSource::Unreadable(const absl::Status& cause) const {
  return absl::DataLossError(absl::StrFormat("%s; to exclude what cannot be read: %s",
                                             cause.message(), PrepareCommand(dataset_->root())));
}

absl::Status CaptionSource::AtMember(const absl::Status& cause, const RawSample::Part& part) const {
  return absl::Status(cause.code(),
                      absl::StrFormat("shard %s, sample %s, member %s.%s: %s", sample_.shard,
                                      sample_.key, sample_.key, part.extension, cause.message()));
}

absl::StatusOr<CaptionSource::Placement> CaptionSource::ReadAndPlace(int64_t index) {
  absl::StatusOr<Placement> placement = Place(index);
  if (absl::IsDataLoss(placement.status())) return Unreadable(placement.status());
  return placement;
}

absl::StatusOr<CaptionSource::Placement> CaptionSource::Place(int64_t index) {
  HETERO_RETURN_IF_ERROR(dataset_->Read(index, sample_));
  Placement placement;
  HETERO_ASSIGN_OR_RETURN(placement.image, SelectPart(sample_, dataset_->fields().image));
  HETERO_ASSIGN_OR_RETURN(placement.caption, SelectPart(sample_, dataset_->fields().caption));
  const absl::StatusOr<ImageSize> size = ProbeImage(placement.image->bytes);
  if (!size.ok()) return AtMember(BytesAtFault(size.status()), *placement.image);
  text_.clear();
  if (absl::Status encoded = options_.tokenizer->Append(placement.caption->bytes, text_);
      !encoded.ok()) {
    return AtMember(encoded, *placement.caption);
  }
  text_.push_back(options_.end_id);
  const auto text_size = static_cast<int64_t>(text_.size());
  if (text_size >= options_.sequence_length) {
    return AtMember(absl::InvalidArgumentError(absl::StrFormat(
                        "the caption takes %d positions with its end; a sequence has %d", text_size,
                        options_.sequence_length)),
                    *placement.caption);
  }
  if (options_.canvases.empty()) {
    const absl::StatusOr<ImageSize> tile = TileOf(*size, text_size);
    if (!tile.ok()) return AtMember(tile.status(), *placement.image);
    placement.size = *tile;
  } else {
    placement.size = CanvasOf(index);
    if (size->height > placement.size.height || size->width > placement.size.width) {
      return AtMember(absl::InvalidArgumentError(absl::StrFormat(
                          "the image has %d x %d pixels and its canvas %d x %d (height x width)",
                          size->height, size->width, placement.size.height, placement.size.width)),
                      *placement.image);
    }
  }
  const int64_t num_tokens = NumTokens(placement.size);
  if (num_tokens + text_size > options_.sequence_length) {
    return AtMember(absl::InvalidArgumentError(absl::StrFormat(
                        "%d image tokens and %d text tokens exceed the sequence length %d",
                        num_tokens, text_size, options_.sequence_length)),
                    *placement.caption);
  }
  return placement;
}

absl::Status CaptionSource::ReadLanguage(int64_t index, LanguageSample& out) {
  HETERO_ASSIGN_OR_RETURN(const Placement placement, ReadAndPlace(index));
  out.name = sample_.Name();
  out.num_placeholders.assign(options_.image_modality + 1, 0);
  out.num_placeholders.back() = NumTokens(placement.size);
  out.text.assign(text_.begin(), text_.end());
  return absl::OkStatus();
}

absl::Status CaptionSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  if (modality != options_.image_modality) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(const Placement placement, ReadAndPlace(index));
  if (absl::Status decoded = DecodeImage(placement.image->bytes, decoded_); !decoded.ok()) {
    const absl::Status cause = AtMember(BytesAtFault(decoded), *placement.image);
    return absl::IsDataLoss(cause) ? Unreadable(cause) : cause;
  }
  const Image* pixels = &rgb_;
  if (options_.canvases.empty()) {
    ResizeToRgb(decoded_, placement.size, resize_, rgb_);
  } else {
    ResizeToRgb(decoded_, decoded_.size, resize_, rgb_);
    PlaceOnCanvas(rgb_, placement.size, canvas_);
    pixels = &canvas_;
  }
  patchifier_.Run(*pixels, out.Add(placement.size, patchifier_.NumPatches(placement.size),
                                   NumTokens(placement.size)));
  return absl::OkStatus();
}

std::optional<ImageSize> CaptionSource::PlaceByHeader(int64_t index) const {
  const SampleHeader header = dataset_->Header(index);
  const TokenBounds caption = options_.tokenizer->NumTokens(header.caption_bytes);
  if (!header.known() || caption.most >= options_.sequence_length - 1) return std::nullopt;
  // What fits beside the longest text it can be, and is the same beside the shortest.
  const absl::StatusOr<ImageSize> tile = TileOf(header.image, caption.most + 1);
  if (!tile.ok() || TileOf(header.image, caption.least + 1) != tile ||
      NumTokens(*tile) + caption.most + 1 > options_.sequence_length) {
    return std::nullopt;
  }
  return *tile;
}

absl::Status CaptionSource::ReadFacts(int64_t index, SampleFacts& facts) {
  ImageSize size;
  if (options_.canvases.empty()) {
    if (const std::optional<ImageSize> known = PlaceByHeader(index)) {
      size = *known;
    } else {
      HETERO_ASSIGN_OR_RETURN(const Placement placement, ReadAndPlace(index));
      size = placement.size;
    }
  } else {
    size = CanvasOf(index);
  }
  FactsOf(facts, options_.image_modality) = {.num_tokens = NumTokens(size), .sizes = {size}};
  return absl::OkStatus();
}

}  // namespace hetero::data
