#include "hetero/data/conversation_source.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"
#include "hetero/data/expand_images.h"
#include "hetero/data/image/codec.h"
#include "hetero/data/webdataset/metadata.h"
#include "hetero/data/webdataset/sample_error.h"

namespace hetero::data {
namespace {

absl::Status Validate(const ConversationOptions& options) {
  HETERO_RETURN_IF_ERROR(CheckSequenceLength(options.sequence_length));
  if (options.prompt == nullptr) return absl::InvalidArgumentError("prompt is not set");
  if (!options.images.has_value()) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(Validate(options.images->tiling)).With("images.tiling");
  if (options.images->max_count >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrFormat("images.max_count is %d; it is at least 1", options.images->max_count));
}

absl::StatusOr<EncodedText> EncodeWith(const Prompt& prompt, const std::string& text) {
  return prompt.EncodeText(text);
}

absl::StatusOr<EncodedText> EncodeWith(const Prompt& prompt, const std::vector<Turn>& turns) {
  return prompt.EncodeConversation(turns);
}

}  // namespace

SourceLimits LimitsOf(const ConversationOptions& options) {
  const SampleImages& images = *options.images;
  const ImagePlanner planner(images.tiling, options.sequence_length);
  // A turn begins with a token of its own.
  const int64_t most_patches =
      std::min((options.sequence_length - 1) * PatchesPerToken(images.tiling),
               images.max_count * planner.max_patches());
  return LimitsOfViews(planner.Limits(), images.max_count * planner.max_views(), most_patches,
                       images.tiling);
}

ConversationSource::ConversationSource(std::shared_ptr<const Dataset> dataset,
                                       const ConversationOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  if (options.images.has_value()) images_.emplace(*options.images, options.sequence_length);
}

absl::StatusOr<std::unique_ptr<ConversationSource>> ConversationSource::Create(
    std::shared_ptr<const Dataset> dataset, const ConversationOptions& options) {
  HETERO_RETURN_IF_ERROR(Validate(options));
  if (std::holds_alternative<CaptioningFields>(dataset->fields())) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "the samples of %s are of class %s (%s), must be of class %s, %s or %s",
        dataset->root().native(), ClassOf(dataset->fields()), kSampleFile,
        ClassOf(ConversationFields()), ClassOf(QuestionFields()), ClassOf(TextFields())));
  }
  return std::unique_ptr<ConversationSource>(new ConversationSource(std::move(dataset), options));
}

int64_t ConversationSource::feature_width(int modality) const {
  const bool has_images = images_.has_value() && modality == images_->options.modality;
  return has_images ? images_->patchifier.patch_elements() : 0;
}

absl::Status ConversationSource::Load(int64_t index) {
  if (read_ == index) return absl::OkStatus();
  read_.reset();
  if (const absl::Status read = Read(index); !read.ok()) return WithRemedy(read, *dataset_);
  read_ = index;
  return absl::OkStatus();
}

absl::Status ConversationSource::Read(int64_t index) {
  HETERO_RETURN_IF_ERROR(dataset_->Read(index, sample_));
  absl::StatusOr<SampleContent> content =
      ReadContent(sample_, dataset_->fields(), dataset_->media());
  if (!content.ok()) return AtSample(content.status(), sample_);
  content_ = *std::move(content);
  const absl::StatusOr<EncodedText> text = std::visit(
      [&](const auto& said) { return EncodeWith(*options_.prompt, said); }, content_.said);
  if (!text.ok()) return AtSample(text.status(), sample_);
  views_.clear();
  if (!content_.images.empty()) {
    HETERO_RETURN_IF_ERROR(PlanImages(static_cast<int64_t>(text->ids.size())));
  }
  std::vector<int64_t> counts;
  for (const std::vector<ImageView>& views : views_) {
    counts.push_back(images_->planner.NumTokens(views));
  }
  const ImageTokens images = {.marker = options_.prompt->image_id(),
                              .modality = images_.has_value() ? images_->options.modality : 0,
                              .counts = counts};
  const absl::Status expanded = ExpandImages(*text, images, options_.sequence_length, language_);
  if (!expanded.ok()) return AtSample(expanded, sample_);
  language_.name = sample_.Name();
  views_.resize(language_.media.size());
  return absl::OkStatus();
}

absl::Status ConversationSource::PlanImages(int64_t text_size) {
  const auto count = static_cast<int64_t>(content_.images.size());
  const int64_t most = images_.has_value() ? images_->options.max_count : 0;
  if (count > most) {
    return AtSample(absl::InvalidArgumentError(absl::StrFormat(
                        "it has %d images, the run takes at most %d of a sample", count, most)),
                    sample_);
  }
  std::vector<ImageSize> sizes;
  for (const ContentImage& image : content_.images) {
    const absl::StatusOr<ImageSize> size = ProbeImage(image.bytes);
    if (!size.ok()) return AtImage(BytesAtFault(size.status()), sample_, image);
    sizes.push_back(*size);
  }
  views_ = images_->planner.Plan(sizes, text_size);
  for (size_t i = 0; i < sizes.size(); ++i) {
    const absl::Status checked = images_->planner.Check(sizes[i], views_[i]);
    if (!checked.ok()) return AtImage(checked, sample_, content_.images[i]);
  }
  return absl::OkStatus();
}

absl::Status ConversationSource::ReadLanguage(int64_t index, LanguageSample& out) {
  HETERO_RETURN_IF_ERROR(Load(index));
  out = language_;
  return absl::OkStatus();
}

absl::Status ConversationSource::ReadMedia(int64_t index, int modality, MediaBatch& out) {
  if (feature_width(modality) == 0) return absl::OkStatus();
  HETERO_RETURN_IF_ERROR(Load(index));
  for (size_t i = 0; i < views_.size(); ++i) {
    const ContentImage& image = content_.images[i];
    bool wants_any = false;
    for (size_t v = 0; v < views_[i].size(); ++v) wants_any |= out.Wants(static_cast<int64_t>(v));
    if (!wants_any) {
      for (size_t v = 0; v < views_[i].size(); ++v) out.Pass();
      continue;
    }
    if (absl::Status decoded = images_->views.Decode(image.bytes); !decoded.ok()) {
      return WithRemedy(AtImage(BytesAtFault(decoded), sample_, image), *dataset_);
    }
    for (const ImageView& view : views_[i]) {
      if (!out.Wants()) {
        out.Pass();
        continue;
      }
      images_->patchifier.Run(images_->views.Show(view),
                              out.Add(view.size, images_->planner.NumPatches(view.size),
                                      images_->planner.NumTokens(std::span(&view, 1))));
    }
  }
  return absl::OkStatus();
}

absl::Status ConversationSource::ReadFacts(int64_t index, SampleFacts& facts) {
  HETERO_RETURN_IF_ERROR(Load(index));
  for (size_t i = 0; i < views_.size(); ++i) {
    const MediaRun& run = language_.media[i];
    ModalityFacts& images = FactsOf(facts, run.modality);
    AddPlaceholders(run.tokens, images);
    for (const ImageView& view : views_[i]) images.sizes.push_back(view.size);
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
