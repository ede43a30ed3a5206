#include "hetero/data/image/resize_deep.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hetero/data/image/bicubic.h"

namespace hetero::data::internal {
namespace {

constexpr double kMost = 65535;

size_t Place(const Image& image, int y, int x) {
  return 2 * (static_cast<size_t>(y) * image.size.width + x);
}

double Value(const Image& image, int y, int x) {
  const uint8_t* const bytes = image.pixels.data() + Place(image, y, x);
  return bytes[0] + 256 * bytes[1];
}

void Store(double sum, Image& image, int y, int x) {
  const auto value = static_cast<int>(std::clamp(std::round(sum), 0.0, kMost));
  uint8_t* const bytes = image.pixels.data() + Place(image, y, x);
  bytes[0] = static_cast<uint8_t>(value & 255);
  bytes[1] = static_cast<uint8_t>(value >> 8);
}

void ResizeHorizontally(const Image& in, int width, Image& out) {
  out.Reshape({.height = in.size.height, .width = width}, in.channels);
  BicubicTaps taps;
  for (int x = 0; x < width; ++x) {
    ComputeBicubicTaps(in.size.width, width, x, taps);
    for (int y = 0; y < in.size.height; ++y) {
      double sum = 0;
      for (size_t j = 0; j < taps.weights.size(); ++j) {
        sum += Value(in, y, taps.start + static_cast<int>(j)) * taps.weights[j];
      }
      Store(sum, out, y, x);
    }
  }
}

void ResizeVertically(const Image& in, int height, Image& out) {
  out.Reshape({.height = height, .width = in.size.width}, in.channels);
  BicubicTaps taps;
  for (int y = 0; y < height; ++y) {
    ComputeBicubicTaps(in.size.height, height, y, taps);
    for (int x = 0; x < in.size.width; ++x) {
      double sum = 0;
      for (size_t j = 0; j < taps.weights.size(); ++j) {
        sum += Value(in, taps.start + static_cast<int>(j), x) * taps.weights[j];
      }
      Store(sum, out, y, x);
    }
  }
}

}  // namespace

void ResizeDeep(const Image& in, ImageSize size, Image& between, Image& out) {
  if (in.size.height == size.height) return ResizeHorizontally(in, size.width, out);
  if (in.size.width == size.width) return ResizeVertically(in, size.height, out);
  ResizeHorizontally(in, size.width, between);
  ResizeVertically(between, size.height, out);
}

}  // namespace hetero::data::internal
