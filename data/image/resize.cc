#include "hetero/data/image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "absl/log/check.h"
#include "hetero/data/image/bicubic.h"
#include "hetero/data/image/resize_deep.h"

namespace hetero::data {
namespace {

constexpr int kFractionBits = 22;
uint8_t ToByte(int32_t fixed) {
  return static_cast<uint8_t>(std::clamp(fixed >> kFractionBits, 0, 255));
}

// Calls `function` with the channel count as a compile-time constant.
template <typename Function>
void WithChannels(int channels, Function function) {
  switch (channels) {
    case 1:
      return function(std::integral_constant<int, 1>());
    case 3:
      return function(std::integral_constant<int, 3>());
    default:
      CHECK_EQ(channels, 4);
      return function(std::integral_constant<int, 4>());
  }
}

void ResizeHorizontally(const Image& in, int width, ResizeWeights& weights, Image& out) {
  ComputeBicubicWeights(in.size.width, width, weights);
  out.Reshape({.height = in.size.height, .width = width}, in.channels);
  WithChannels(in.channels, [&](auto channels) {
    constexpr int kChannels = channels;
    for (int y = 0; y < in.size.height; ++y) {
      const uint8_t* row = in.pixels.data() + size_t{1} * y * in.size.width * kChannels;
      uint8_t* out_row = out.pixels.data() + size_t{1} * y * width * kChannels;
      for (int x = 0; x < width; ++x) {
        const std::span<const int32_t> taps = weights.Row(x);
        const uint8_t* from = row + weights.start[x] * kChannels;
        int32_t sum[kChannels];
        std::fill(sum, sum + kChannels, int32_t{1} << (kFractionBits - 1));
        for (const int32_t weight : taps) {
          for (int c = 0; c < kChannels; ++c) sum[c] += from[c] * weight;
          from += kChannels;
        }
        for (int c = 0; c < kChannels; ++c) out_row[x * kChannels + c] = ToByte(sum[c]);
      }
    }
  });
}

void ResizeVertically(const Image& in, int height, ResizeWeights& weights, Image& out) {
  ComputeBicubicWeights(in.size.height, height, weights);
  out.Reshape({.height = height, .width = in.size.width}, in.channels);
  const size_t row_bytes = static_cast<size_t>(in.size.width) * in.channels;
  for (int y = 0; y < height; ++y) {
    const std::span<const int32_t> taps = weights.Row(y);
    const uint8_t* from = in.pixels.data() + weights.start[y] * row_bytes;
    uint8_t* out_row = out.pixels.data() + y * row_bytes;
    for (size_t x = 0; x < row_bytes; ++x) {
      int32_t sum = int32_t{1} << (kFractionBits - 1);
      for (size_t j = 0; j < taps.size(); ++j) sum += from[j * row_bytes + x] * taps[j];
      out_row[x] = ToByte(sum);
    }
  }
}

// Pillow steps a double by the scale instead of multiplying; the sums round differently.
std::vector<int> NearestPositions(int in_size, int out_size) {
  const double scale = static_cast<double>(in_size) / out_size;
  std::vector<int> positions(out_size);
  double position = scale * 0.5;
  for (int& p : positions) {
    p = std::min(static_cast<int>(position), in_size - 1);
    position += scale;
  }
  return positions;
}

void ResizeNearest(const Image& in, ImageSize size, Image& out) {
  out.Reshape(size, in.channels);
  const std::vector<int> columns = NearestPositions(in.size.width, size.width);
  const std::vector<int> rows = NearestPositions(in.size.height, size.height);
  uint8_t* to = out.pixels.data();
  for (const int y : rows) {
    for (const int x : columns) {
      const size_t from = (static_cast<size_t>(y) * in.size.width + x) * in.channels;
      to = std::copy_n(in.pixels.data() + from, in.channels, to);
    }
  }
}

// round(a * b / 255) without a division (Pillow's MULDIV255).
uint8_t MultiplyBytes(int a, int b) {
  const int t = a * b + 128;
  return static_cast<uint8_t>(((t >> 8) + t) >> 8);
}

void Premultiply(const Image& in, Image& out) {
  out.Reshape(in.size, in.channels);
  for (size_t i = 0; i < in.pixels.size(); i += 4) {
    const uint8_t alpha = in.pixels[i + 3];
    for (size_t c = 0; c < 3; ++c) out.pixels[i + c] = MultiplyBytes(in.pixels[i + c], alpha);
    out.pixels[i + 3] = alpha;
  }
}

void DividePremultiplied(Image& image) {
  for (size_t i = 0; i < image.pixels.size(); i += 4) {
    const int alpha = image.pixels[i + 3];
    if (alpha == 0 || alpha == 255) continue;
    for (size_t c = 0; c < 3; ++c) {
      image.pixels[i + c] = static_cast<uint8_t>(std::min(255 * image.pixels[i + c] / alpha, 255));
    }
  }
}

// Writes the RGB of the pixel at `from`, of 1, 2 or 4 channels.
void PixelToRgb(const Image& in, const uint8_t* from, uint8_t* to) {
  if (in.channels == 1) {
    std::fill_n(to, 3, *from);
  } else if (in.channels == 2) {
    std::fill_n(to, 3, from[1] > 0 ? uint8_t{255} : from[0]);  // clipped, not scaled
  } else if (in.cmyk) {
    const int paper = 255 - from[3];
    for (int c = 0; c < 3; ++c) to[c] = static_cast<uint8_t>(paper - MultiplyBytes(from[c], paper));
  } else {
    std::copy_n(from, 3, to);
  }
}

void ToRgb(const Image& in, Image& out) {
  out.Reshape(in.size, 3);
  const uint8_t* from = in.pixels.data();
  uint8_t* to = out.pixels.data();
  if (in.channels == 3) {
    std::copy(in.pixels.begin(), in.pixels.end(), to);
    return;
  }
  const size_t num_pixels = in.pixels.size() / in.channels;
  for (size_t i = 0; i < num_pixels; ++i, from += in.channels, to += 3) PixelToRgb(in, from, to);
}

}  // namespace

void ComputeBicubicWeights(int in_size, int out_size, ResizeWeights& weights) {
  const double filter_scale = std::max(static_cast<double>(in_size) / out_size, 1.0);
  weights.stride = static_cast<int>(std::ceil(internal::kBicubicSupport * filter_scale)) * 2 + 1;
  weights.start.resize(out_size);
  weights.taps.resize(out_size);
  weights.weights.resize(static_cast<size_t>(out_size) * weights.stride);
  internal::BicubicTaps taps;
  for (int i = 0; i < out_size; ++i) {
    internal::ComputeBicubicTaps(in_size, out_size, i, taps);
    weights.start[i] = taps.start;
    weights.taps[i] = static_cast<int>(taps.weights.size());
    int32_t* row = weights.weights.data() + static_cast<size_t>(i) * weights.stride;
    for (const double weight : taps.weights) {
      const double scaled = weight * (1 << kFractionBits);
      *row++ = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5 : 0.5));
    }
  }
}

void ResizeToRgb(const Image& in, ImageSize size, ResizeScratch& scratch, Image& out) {
  if (in.size == size) return ToRgb(in, out);
  if (in.nearest) {
    ResizeNearest(in, size, scratch.source);
    return ToRgb(scratch.source, out);
  }
  if (in.channels == 2) {
    internal::ResizeDeep(in, size, scratch.horizontal, scratch.vertical);
    return ToRgb(scratch.vertical, out);
  }
  const bool has_alpha = in.channels == 4 && !in.cmyk;
  const Image* image = &in;
  if (has_alpha) {
    Premultiply(in, scratch.source);
    image = &scratch.source;
  }
  if (image->size.width != size.width) {
    ResizeHorizontally(*image, size.width, scratch.weights, scratch.horizontal);
    image = &scratch.horizontal;
  }
  if (image->size.height != size.height) {
    ResizeVertically(*image, size.height, scratch.weights, scratch.vertical);
    image = &scratch.vertical;
  }
  Image& scaled = image == &scratch.vertical ? scratch.vertical : scratch.horizontal;
  if (has_alpha) DividePremultiplied(scaled);
  scaled.cmyk = in.cmyk;
  ToRgb(scaled, out);
}

}  // namespace hetero::data
