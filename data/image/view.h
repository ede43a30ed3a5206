#ifndef HETERO_DATA_IMAGE_VIEW_H_
#define HETERO_DATA_IMAGE_VIEW_H_

#include "hetero/data/image/image.h"

namespace hetero::data {

// What is shown of an image: it is scaled to `scaled`, and `size` pixels from row `top` and column
// `left` on are taken, black where the image does not reach.
struct ImageView {
  ImageSize scaled;
  int top = 0;
  int left = 0;
  ImageSize size;

  bool operator==(const ImageView&) const = default;
};

constexpr ImageView WholeImage(ImageSize scaled) { return {.scaled = scaled, .size = scaled}; }

// An image as it is, in the middle of `canvas`. Precondition: it is no larger.
constexpr ImageView InTheMiddle(ImageSize image, ImageSize canvas) {
  return {.scaled = image,
          .top = -((canvas.height - image.height) / 2),
          .left = -((canvas.width - image.width) / 2),
          .size = canvas};
}

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_VIEW_H_
