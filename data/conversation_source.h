#ifndef HETERO_DATA_CONVERSATION_SOURCE_H_
#define HETERO_DATA_CONVERSATION_SOURCE_H_

// Conversations, questions on images and texts from a prepared WebDataset, in a prompt format.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/tiling.h"
#include "hetero/data/image/view.h"
#include "hetero/data/image/view_reader.h"
#include "hetero/data/image_planner.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/text/conversation.h"
#include "hetero/data/webdataset/content.h"
#include "hetero/data/webdataset/dataset.h"

namespace hetero::data {

// The images of a run's samples.
struct SampleImages {
  int modality = 0;       // of the model's
  int64_t max_count = 0;  // of a sample, at least 1
  TilingOptions tiling;
  Normalization normalization = kClipNormalization;
};

struct ConversationOptions {
  int64_t sequence_length = 0;  // a sample is cut behind so many tokens
  std::shared_ptr<const Prompt> prompt;
  std::optional<SampleImages> images;  // unset: samples have none
};

// Of the images that a source of these options gives; `prompt` may be unset.
// Precondition: `images` is set, and a sequence holds the largest image, a token for each view of
// the others and one of text.
SourceLimits LimitsOf(const ConversationOptions& options);

// What assistants say is trained on, and all of a text that is no conversation. The images of a
// sample share what its text leaves of the sequence; one that would be cut is left out, with all
// behind it. Reading gives DATA_LOSS, naming shard, sample and member, for what preparation
// excludes, INVALID_ARGUMENT for a sample that does not fit the options or the prompt.
class ConversationSource : public SampleSource {
 public:
  // Errors: INVALID_ARGUMENT naming the field, or for samples of captions.
  static absl::StatusOr<std::unique_ptr<ConversationSource>> Create(
      std::shared_ptr<const Dataset> dataset, const ConversationOptions& options);

  int64_t size() const override { return dataset_->size(); }
  int64_t feature_width(int modality) const override;
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override;
  absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) override;
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override;

 private:
  // What makes pixels of a sample's images.
  struct ImageReader {
    ImageReader(const SampleImages& images, int64_t sequence_length)
        : options(images),
          planner(images.tiling, sequence_length),
          patchifier(images.tiling.patch_size, images.normalization) {}

    SampleImages options;
    ImagePlanner planner;
    Patchifier patchifier;
    ViewReader views;
  };

  ConversationSource(std::shared_ptr<const Dataset> dataset, const ConversationOptions& options);
  // Makes `read_`, content_, views_ and language_ those of sample `index`.
  absl::Status Load(int64_t index);
  absl::Status Read(int64_t index);
  // The views of each image, by its header, beside a text of so many tokens.
  absl::Status PlanImages(int64_t text_size);

  std::shared_ptr<const Dataset> dataset_;
  ConversationOptions options_;
  std::optional<ImageReader> images_;

  // Counting, text and pixels of a sample are asked for one after the other.
  std::optional<int64_t> read_;
  RawSample sample_;
  SampleContent content_;
  std::vector<std::vector<ImageView>> views_;  // by image
  LanguageSample language_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_CONVERSATION_SOURCE_H_
