#ifndef HETERO_DATA_CAPTION_SOURCE_H_
#define HETERO_DATA_CAPTION_SOURCE_H_

// Images with captions from a prepared WebDataset.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/patchify.h"
#include "hetero/data/image/tiling.h"
#include "hetero/data/image/view.h"
#include "hetero/data/image/view_reader.h"
#include "hetero/data/image_planner.h"
#include "hetero/data/source.h"
#include "hetero/data/tar/shard.h"
#include "hetero/data/text/byte_tokenizer.h"
#include "hetero/data/text/tokenizer.h"
#include "hetero/data/webdataset/dataset.h"
#include "hetero/data/webdataset/metadata.h"

namespace hetero::data {

struct CaptionOptions {
  int64_t sequence_length = 0;  // of the language model; bounds text and image tokens together
  std::shared_ptr<const Tokenizer> tokenizer = std::make_shared<ByteTokenizer>();
  int32_t end_id = ByteTokenizer::kEnd;  // ends the caption
  int image_modality = 0;                // of the model's modalities
  TilingOptions tiling;
  Normalization normalization = kClipNormalization;

  // In pixels. Empty: images are resized to what `tiling` gives, and cut into its tiles. Otherwise
  // images keep their pixels and stand in the middle of a black canvas; the image at place p of the
  // split gets canvas p mod count.
  std::vector<ImageSize> canvases;
};

// Errors: INVALID_ARGUMENT naming the field.
absl::Status Validate(const CaptionOptions& options);

// Of the images that a source of these options gives: none has more patches. A sample whose image
// would is an error of the source.
SourceLimits LimitsOf(const CaptionOptions& options);

// Text is the caption as the tokenizer has it and an end. Reading gives DATA_LOSS, naming shard,
// sample and member, for a missing member and for an image that cannot be decoded: preparation
// excludes those. INVALID_ARGUMENT is a sample that does not fit the options.
class CaptionSource : public SampleSource {
 public:
  // Errors: those of Validate; INVALID_ARGUMENT for samples of another kind.
  static absl::StatusOr<std::unique_ptr<CaptionSource>> Create(
      std::shared_ptr<const Dataset> dataset, const CaptionOptions& options);

  int64_t size() const override { return dataset_->size(); }
  int64_t feature_width(int modality) const override;
  absl::Status ReadLanguage(int64_t index, LanguageSample& out) override;
  absl::Status ReadMedia(int64_t index, int modality, MediaBatch& out) override;
  absl::Status ReadFacts(int64_t index, SampleFacts& facts) override;

 private:
  // Where an image lands, decided from header and caption; text_ has the ids of the caption.
  struct Placement {
    const RawSample::Part* image;
    const RawSample::Part* caption;
    std::vector<ImageView> views;
  };

  CaptionSource(std::shared_ptr<const Dataset> dataset, const CaptioningFields& fields,
                const CaptionOptions& options);
  // Beside a text of so many tokens.
  absl::StatusOr<std::vector<ImageView>> ViewsOf(ImageSize image, int64_t text_size) const;
  absl::StatusOr<std::vector<ImageView>> PutOnCanvas(ImageSize image, int64_t index) const;
  ImageSize CanvasOf(int64_t index) const;
  absl::StatusOr<Placement> ReadAndPlace(int64_t index);
  // By what the data set knows of the sample's headers. Nothing where the sample itself must tell,
  // also what is wrong with it.
  std::optional<std::vector<ImageView>> PlaceByHeader(int64_t index) const;
  absl::StatusOr<Placement> Place(int64_t index);

  std::shared_ptr<const Dataset> dataset_;
  CaptioningFields fields_;
  CaptionOptions options_;
  ImagePlanner planner_;
  Patchifier patchifier_;
  RawSample sample_;
  std::vector<int32_t> text_;
  ViewReader reader_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_CAPTION_SOURCE_H_
