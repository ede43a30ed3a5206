#include "hetero/data/image/view_reader.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hetero/data/image/codec.h"

namespace hetero::data {
namespace {

// The part of `image` that `view` shows.
void Cut(const Image& image, const ImageView& view, Image& out) {
  out.Reshape(view.size, image.channels);
  std::fill(out.pixels.begin(), out.pixels.end(), uint8_t{0});
  const int first_row = std::max(view.top, 0);
  const int first_column = std::max(view.left, 0);
  const int rows = std::min(view.top + view.size.height, image.size.height) - first_row;
  const int columns = std::min(view.left + view.size.width, image.size.width) - first_column;
  const auto at = [&](const Image& of, int row, int column) {
    return (static_cast<size_t>(row) * of.size.width + column) * of.channels;
  };
  for (int y = first_row; y < first_row + rows; ++y) {
    std::copy_n(image.pixels.data() + at(image, y, first_column), columns * image.channels,
                out.pixels.data() + at(out, y - view.top, first_column - view.left));
  }
}

}  // namespace

absl::Status ViewReader::Decode(std::string_view bytes) {
  scaled_ = {};
  return DecodeImage(bytes, decoded_);
}

const Image& ViewReader::Show(const ImageView& view) {
  if (scaled_ != view.scaled) {
    ResizeToRgb(decoded_, view.scaled, resize_, rgb_);
    scaled_ = view.scaled;
  }
  if (view == WholeImage(view.scaled)) return rgb_;
  Cut(rgb_, view, shown_);
  return shown_;
}

}  // namespace hetero::data
