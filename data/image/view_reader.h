#ifndef HETERO_DATA_IMAGE_VIEW_READER_H_
#define HETERO_DATA_IMAGE_VIEW_READER_H_

#include <string_view>

#include "absl/status/status.h"
#include "hetero/data/image/image.h"
#include "hetero/data/image/resize.h"
#include "hetero/data/image/view.h"

namespace hetero::data {

// Decodes an image once and gives its views as RGB. Reuse one object: its buffers keep their
// capacity.
class ViewReader {
 public:
  // Errors: those of DecodeImage.
  absl::Status Decode(std::string_view bytes);

  // Valid until the next call. Precondition: the last Decode succeeded.
  const Image& Show(const ImageView& view);

 private:
  Image decoded_;
  ImageSize scaled_;  // of rgb_; of height 0 before any
  Image rgb_;
  Image shown_;
  ResizeScratch resize_;
};

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_VIEW_READER_H_
