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
  const int step = TokenSide(options.tiling);
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

absl::StatusOr<std::vector<ImageView>> CaptionSource::ViewsOf(ImageSize image,
                                                              int64_t text_size) const {
  std::vector<ImageView> views = std::move(planner_.Plan(std::span(&image, 1), text_size).front());
  HETERO_RETURN_IF_ERROR(planner_.Check(image, views));
  return views;
}

absl::StatusOr<std::vector<ImageView>> CaptionSource::PutOnCanvas(ImageSize image,
                                                                  int64_t index) const {
  const ImageSize canvas = CanvasOf(index);
  if (image.height <= canvas.height && image.width <= canvas.width) {
    return std::vector<ImageView>{InTheMiddle(image, canvas)};
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("the image has %d x %d pixels and its canvas %d x %d (height x width)",
                      image.height, image.width, canvas.height, canvas.width));
}

ImageSize CaptionSource::CanvasOf(int64_t index) const {
  const auto count = static_cast<int64_t>(options_.canvases.size());
  return options_.canvases[dataset_->Position(index) % count];
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
  absl::StatusOr<std::vector<ImageView>> views =
      options_.canvases.empty() ? ViewsOf(*size, text_size) : PutOnCanvas(*size, index);
  if (!views.ok()) return AtMember(views.status(), sample_, *placement.image);
  placement.views = *std::move(views);
  const int64_t num_tokens = planner_.NumTokens(placement.views);
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
      {.modality = options_.image_modality, .tokens = {0, planner_.NumTokens(placement.views)}}};
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
  for (const ImageView& view : placement.views) {
    patchifier_.Run(reader_.Show(view), out.Add(view.size, planner_.NumPatches(view.size),
                                                planner_.NumTokens(std::span(&view, 1))));
  }
  return absl::OkStatus();
}

std::optional<std::vector<ImageView>> CaptionSource::PlaceByHeader(int64_t index) const {
  const SampleHeader header = dataset_->Header(index);
  const TokenBounds caption = options_.tokenizer->NumTokens(header.caption_bytes);
  if (!header.known() || caption.most >= options_.sequence_length - 1) return std::nullopt;
  // What fits beside the longest text it can be, and is the same beside the shortest.
  absl::StatusOr<std::vector<ImageView>> views = ViewsOf(header.image, caption.most + 1);
  if (!views.ok() || ViewsOf(header.image, caption.least + 1) != views ||
      planner_.NumTokens(*views) + caption.most + 1 > options_.sequence_length) {
    return std::nullopt;
  }
  return *std::move(views);
}

absl::Status CaptionSource::ReadFacts(int64_t index, SampleFacts& facts) {
  std::vector<ImageView> views;
  if (!options_.canvases.empty()) {
    views = {WholeImage(CanvasOf(index))};
  } else if (std::optional<std::vector<ImageView>> known = PlaceByHeader(index)) {
    views = *std::move(known);
  } else {
    HETERO_ASSIGN_OR_RETURN(Placement placement, ReadAndPlace(index));
    views = std::move(placement.views);
  }
  ModalityFacts& images = FactsOf(facts, options_.image_modality);
  AddPlaceholders({0, planner_.NumTokens(views)}, images);
  for (const ImageView& view : views) images.sizes.push_back(view.size);
  return absl::OkStatus();
}

}  // namespace hetero::data
