#ifndef HETERO_DATA_IMAGE_RESIZE_H_
#define HETERO_DATA_IMAGE_RESIZE_H_

// Bicubic resizing with the bits of Pillow's Image.resize(size, BICUBIC) (before release 13):
// separable, a = -0.5, antialiased, 22-bit fixed-point weights, horizontal pass first.

#include <cstdint>
#include <span>
#include <vector>

#include "hetero/data/image/image.h"

namespace hetero::data {

// The weights of one axis: output i is the sum of inputs [start[i], start[i] + taps[i]) times
// weights[i * stride ...], in units of 2^-22.
struct ResizeWeights {
  int stride = 0;
  std::vector<int> start;
  std::vector<int> taps;
  std::vector<int32_t> weights;

  std::span<const int32_t> Row(int i) const {
    return std::span(weights).subspan(static_cast<size_t>(i) * stride, taps[i]);
  }
};

// Precondition: both sizes positive.
void ComputeBicubicWeights(int in_size, int out_size, ResizeWeights& weights);

// Working memory of a resize; reuse keeps its capacity.
struct ResizeScratch {
  ResizeWeights weights;
  Image source;
  Image horizontal;
  Image vertical;
};

// `in` scaled to `size`, then converted to RGB. The image is resized in its own mode: grey as one
// channel, alpha premultiplied while resizing and dropped after, palettes by nearest pixel, CMYK as
// four channels, 16-bit grey in 16 bits and then clipped to 8.
// Precondition: `size` positive; `out` is not `in`.
void ResizeToRgb(const Image& in, ImageSize size, ResizeScratch& scratch, Image& out);

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_RESIZE_H_
