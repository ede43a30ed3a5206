#ifndef HETERO_DATA_IMAGE_RESIZE_DEEP_H_
#define HETERO_DATA_IMAGE_RESIZE_DEEP_H_

#include "hetero/data/image/image.h"

namespace hetero::data::internal {

// A 16-bit grey image scaled as Pillow (from release 11) scales mode "I;16": sums of doubles,
// rounded to the nearest and clamped to 16 bits after each pass, the horizontal one first.
// `between` is working memory. Precondition: in.channels == 2; `size` positive; three different
// images.
void ResizeDeep(const Image& in, ImageSize size, Image& between, Image& out);

}  // namespace hetero::data::internal

#endif  // HETERO_DATA_IMAGE_RESIZE_DEEP_H_
