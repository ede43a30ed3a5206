#ifndef HETERO_DATA_IMAGE_PLANNER_H_
#define HETERO_DATA_IMAGE_PLANNER_H_

// What an encoder sees of the images of a sample, decided from their sizes and the length of the
// text beside them.

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/image/tiling.h"
#include "hetero/data/image/view.h"
#include "hetero/data/source.h"

namespace hetero::data {

// Errors: INVALID_ARGUMENT for a sequence without room for an image beside text.
absl::Status CheckSequenceLength(int64_t sequence_length);

class ImagePlanner {
 public:
  // Precondition: Validate(tiling) is OK; sequence_length positive.
  ImagePlanner(const TilingOptions& tiling, int64_t sequence_length);

  // The views of each image of a sample beside a text of `text_size` tokens, markers included.
  std::vector<std::vector<ImageView>> Plan(std::span<const ImageSize> images,
                                           int64_t text_size) const;

  // Errors: INVALID_ARGUMENT for an image so thin that `views`, which Plan gave it, exceed
  // max_patches().
  absl::Status Check(ImageSize image, std::span<const ImageView> views) const;

  int64_t NumPatches(ImageSize size) const {
    return size.Area() / (int64_t{tiling_.patch_size} * tiling_.patch_size);
  }
  int64_t NumTokens(std::span<const ImageView> views) const;

  // The most patches and views of an image.
  int64_t max_patches() const { return max_patches_; }
  int64_t max_views() const { return static_cast<int64_t>(largest_.size()); }

  // Of samples with one image.
  SourceLimits Limits() const;

 private:
  TilingOptions tiling_;
  int64_t sequence_length_;
  std::vector<ImageSize> largest_;
  int64_t max_patches_ = 0;
};

// Of samples, or rows of several, with at most `num_views` views of images that have at most
// `num_patches` patches together. `one`: of an image. Precondition: the views of `one` are no more;
// the largest image and a token for each other view are no more than num_patches, where images have
// no tiles.
SourceLimits LimitsOfViews(const SourceLimits& one, int64_t num_views, int64_t num_patches,
                           const TilingOptions& tiling);

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_PLANNER_H_
