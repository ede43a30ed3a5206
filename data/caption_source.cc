#include "hetero/data/caption_source.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/webdataset/field.h"
#include "hetero/data/webdataset/sample_error.h"

namespace hetero::data {

absl::Status Validate(const CaptionOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options.tiling)).With("tiling");
  HETERO_RETURN_IF_ERROR(CheckSequenceLength(options.sequence_length));
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
  const ImagePlanner planner(options.tiling, options.sequence_length);
  if (options.canvases.empty()) return planner.Limits();
  const ImageSize largest = *std::ranges::max_element(
      options.canvases, {}, [](const ImageSize& canvas) { return canvas.Area(); });
  const int64_t num_patches = planner.NumPatches(largest);
  return {.feature_width = Patchifier::PatchElements(options.tiling.patch_size),
          .sizes = {largest},
          .max_features = num_patches,
          .max_tokens = num_patches / PatchesPerToken(options.tiling)};
}

CaptionSource::CaptionSource(std::shared_ptr<const Dataset> dataset, const CaptioningFields& fields,
                             const CaptionOptions& options)
    : dataset_(std::move(dataset)),
      fields_(fields),
      options_(options),
      planner_(options.tiling, options.sequence_length),
      patchifier_(options.tiling.patch_size, options.normalization) {}

absl::StatusOr<std::unique_ptr<CaptionSource>> CaptionSource::Create(
    std::shared_ptr<const Dataset> dataset, const CaptionOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options));
  const auto* const fields = std::get_if<CaptioningFields>(&dataset->fields());
  if (fields == nullptr) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the samples of %s are of class %s (%s), must be of class %s", dataset->root().native(),
        ClassOf(dataset->fields()), kSampleFile, ClassOf(CaptioningFields())));
  }
  return std::unique_ptr<CaptionSource>(new CaptionSource(std::move(dataset), *fields, options));
}

int64_t CaptionSource::feature_width(int modality) const {
  return modality == options_.image_modality ? patchifier_.patch_elements() : 0;
}

absl::StatusOr<ImageView> CaptionSource::TileOf(ImageSize image, int64_t text_size) const {
  const std::vector<ImageView> views = planner_.Plan(std::span(&image, 1), text_size).front();
  HETERO_RETURN_IF_ERROR(planner_.Check(image, views));
  return views.front();
}

absl::StatusOr<ImageView> CaptionSource::PutOnCanvas(ImageSize image, int64_t index) const {
  const ImageSize canvas = CanvasOf(index);
  if (image.height <= canvas.height && image.width <= canvas.width) {
    return InTheMiddle(image, canvas);
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("the image has %d x %d pixels and its canvas %d x %d (height x width)",
                      image.height, image.width, canvas.height, canvas.width));
}

ImageSize CaptionSource::CanvasOf(int64_t index) const {
  const auto count = static_cast<int64_t>(options_.canvases.size());
  return options_.canvases[dataset_->Position(index) % count];
}

int64_t CaptionSource::NumTokens(ImageSize size) const {
  return planner_.NumPatches(size) / PatchesPerToken(options_.tiling);
}

absl::StatusOr<CaptionSource::Placement> CaptionSource::ReadAndPlace(int64_t index) {
  absl::StatusOr<Placement> placement = Place(index);
  if (!placement.ok()) return WithRemedy(placement.status(), *dataset_);
  return placement;
}

absl::StatusOr<CaptionSource::Placement> CaptionSource::Place(int64_t index) {
  HETERO_RETURN_IF_ERROR(dataset_->Read(index, sample_));
  Placement placement;
  HETERO_ASSIGN_OR_RETURN(placement.image, SelectPart(sample_, fields_.image));
  HETERO_ASSIGN_OR_RETURN(placement.caption, SelectPart(sample_, fields_.caption));
  const absl::StatusOr<ImageSize> size = ProbeImage(placement.image->bytes);
  if (!size.ok()) return AtMember(BytesAtFault(size.status()), sample_, *placement.image);
  text_.clear();
  if (absl::Status encoded = options_.tokenizer->Append(placement.caption->bytes, text_);
      !encoded.ok()) {
    return AtMember(encoded, sample_, *placement.caption);
  }
  text_.push_back(options_.end_id);
  const auto text_size = static_cast<int64_t>(text_.size());
  if (text_size >= options_.sequence_length) {
    return AtMember(absl::InvalidArgumentError(absl::StrFormat(
                        "the caption takes %d positions with its end; a sequence has %d", text_size,
                        options_.sequence_length)),
                    sample_, *placement.caption);
  }
  const absl::StatusOr<ImageView> view =
      options_.canvases.empty() ? TileOf(*size, text_size) : PutOnCanvas(*size, index);
  if (!view.ok()) return AtMember(view.status(), sample_, *placement.image);
  placement.view = *view;
  const int64_t num_tokens = NumTokens(view->size);
  if (num_tokens + text_size > options_.sequence_length) {
    return AtMember(absl::InvalidArgumentError(absl::StrFormat(
                        "%d image tokens and %d text tokens exceed the sequence length %d",
                        num_tokens, text_size, options_.sequence_length)),
                    sample_, *placement.caption);
  }
  return placement;
}

absl::Status CaptionSource::ReadLanguage(int64_t index, LanguageSample& out) {
  HETERO_ASSIGN_OR_RETURN(const Placement placement, ReadAndPlace(index));
  out.name = sample_.Name();
  out.media = {
      {.modality = options_.image_modality, .tokens = {0, NumTokens(placement.view.size)}}};
  out.text.assign(text_.begin(), text_.end());
  out.labels = out.text;
  return absl::OkStatus();
}

absl::Status CaptionSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  if (modality != options_.image_modality) return absl::OkStatus();
  if (!out.Wants()) {
    out.Pass();
    return absl::OkStatus();
  }
  HETERO_ASSIGN_OR_RETURN(const Placement placement, ReadAndPlace(index));
  if (absl::Status decoded = reader_.Decode(placement.image->bytes); !decoded.ok()) {
    return WithRemedy(AtMember(BytesAtFault(decoded), sample_, *placement.image), *dataset_);
  }
  const ImageSize size = placement.view.size;
  patchifier_.Run(reader_.Show(placement.view),
                  out.Add(size, planner_.NumPatches(size), NumTokens(size)));
  return absl::OkStatus();
}

std::optional<ImageSize> CaptionSource::PlaceByHeader(int64_t index) const {
  const SampleHeader header = dataset_->Header(index);
  const TokenBounds caption = options_.tokenizer->NumTokens(header.caption_bytes);
  if (!header.known() || caption.most >= options_.sequence_length - 1) return std::nullopt;
  // What fits beside the longest text it can be, and is the same beside the shortest.
  const absl::StatusOr<ImageView> tile = TileOf(header.image, caption.most + 1);
  if (!tile.ok() || TileOf(header.image, caption.least + 1) != tile ||
      NumTokens(tile->size) + caption.most + 1 > options_.sequence_length) {
    return std::nullopt;
  }
  return tile->size;
}

absl::Status CaptionSource::ReadFacts(int64_t index, SampleFacts& facts) {
  ImageSize size;
  if (options_.canvases.empty()) {
    if (const std::optional<ImageSize> known = PlaceByHeader(index)) {
      size = *known;
    } else {
      HETERO_ASSIGN_OR_RETURN(const Placement placement, ReadAndPlace(index));
      size = placement.view.size;
    }
  } else {
    size = CanvasOf(index);
  }
  ModalityFacts& images = FactsOf(facts, options_.image_modality);
  AddPlaceholders({0, NumTokens(size)}, images);
  images.sizes.push_back(size);
  return absl::OkStatus();
}

}  // namespace hetero::data
