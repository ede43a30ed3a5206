#include "hetero/data/expand_images.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"

namespace hetero::data {

absl::Status ExpandImages(const EncodedText& text, const ImageTokens& images, int64_t max_length,
                          LanguageSample& out) {
  const auto num_markers = std::ranges::count(text.ids, images.marker);
  if (static_cast<size_t>(num_markers) != images.counts.size()) {
    return absl::InvalidArgumentError(absl::StrFormat("the text has %d image markers for %d images",
                                                      num_markers, images.counts.size()));
  }
  out.media.clear();
  out.text.clear();
  out.labels.clear();
  int64_t length = 0;
  for (size_t i = 0; i < text.ids.size(); ++i) {
    const bool is_image = text.ids[i] == images.marker;
    const int64_t count = is_image ? images.counts[out.media.size()] : 1;
    if (length + count > max_length) break;
    if (is_image) {
      out.media.push_back({.modality = images.modality, .tokens = {length, count}});
    } else {
      out.text.push_back(text.ids[i]);
      out.labels.push_back(text.labels[i]);
    }
    length += count;
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
