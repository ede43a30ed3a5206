#ifndef HETERO_TRAINER_TESTING_CAPTIONED_IMAGES_H_
#define HETERO_TRAINER_TESTING_CAPTIONED_IMAGES_H_

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "hetero/data/image/image.h"

namespace hetero {

struct CaptionedImage {
  data::ImageSize size;
  std::string caption;
};

// Makes `folder` a prepared data set of these samples, "k00" and on, in one shard, whatever it was
// before; they are both its splits. The pixels follow from a sample's place. Errors: those of
// //data/tar and //data/webdataset:prepare.
absl::Status WriteCaptionedImages(const std::filesystem::path& folder,
                                  const std::vector<CaptionedImage>& samples);

enum class ImagePart { kHeader, kPixels };

// Overwrites a part of the image of sample `key` there; the archive stays whole. Without its header
// nobody can tell the size of an image. Errors: NOT_FOUND without such a sample; those of
// //data/file.
absl::Status DamageImage(const std::filesystem::path& folder, std::string_view key,
                         ImagePart part = ImagePart::kPixels);

// What a configuration sets to train on it as data.web_dataset, `folder` relative to TestFolder().
std::string CaptionedImagesSetting(const std::filesystem::path& folder);

}  // namespace hetero

#endif  // HETERO_TRAINER_TESTING_CAPTIONED_IMAGES_H_
