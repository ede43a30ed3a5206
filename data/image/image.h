#ifndef HETERO_DATA_IMAGE_IMAGE_H_
#define HETERO_DATA_IMAGE_IMAGE_H_

// Decoded pictures on the host.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

using hetero::ImageSize;

// 8-bit pixels, row-major, channels interleaved. Reuse one object: its buffer keeps its capacity.
struct Image {
  ImageSize size;
  int channels = 0;  // 1 grey, 3 RGB, 4 RGB with alpha

  // True for images whose values are labels (palette, 1 bit): resizing takes the nearest pixel.
  bool nearest = false;

  std::vector<uint8_t> pixels;  // height * width * channels

  // Sets the shape; pixels are unspecified.
  void Reshape(ImageSize new_size, int new_channels) {
    size = new_size;
    channels = new_channels;
    nearest = false;
    pixels.resize(static_cast<size_t>(size.Area()) * channels);
  }
};

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_IMAGE_H_
