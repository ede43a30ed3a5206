#ifndef HETERO_DATA_IMAGE_IMAGE_H_
#define HETERO_DATA_IMAGE_IMAGE_H_

// Decoded pictures on the host.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hetero/tensor/sample_facts.h"

namespace hetero::data {

using hetero::ImageSize;

// Row-major pixels, channels interleaved. Reuse one object: its buffer keeps its capacity.
struct Image {
  ImageSize size;
  int channels = 0;  // bytes of a pixel: 1 grey, 2 grey of 16 bits, 3 RGB, 4 RGB with alpha or CMYK

  // True for images whose values are labels (palette, 1 bit): resizing takes the nearest pixel.
  bool nearest = false;
  bool cmyk = false;  // four channels are cyan, magenta, yellow and black; 255 is full ink

  std::vector<uint8_t> pixels;  // height * width * channels; 16 bits with the low byte first

  // Sets the shape; pixels are unspecified.
  void Reshape(ImageSize new_size, int new_channels) {
    size = new_size;
    channels = new_channels;
    nearest = false;
    cmyk = false;
    pixels.resize(static_cast<size_t>(size.Area()) * channels);
  }
};

}  // namespace hetero::data

#endif  // HETERO_DATA_IMAGE_IMAGE_H_
