#include "hetero/data/packing/row.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "absl/strings/str_format.h"
#include "hetero/data/batch.h"

namespace hetero::data {

absl::StatusOr<ExpandedText> ExpandImages(const EncodedText& text, int32_t image_id,
                                          std::span<const int64_t> image_tokens,
                                          int64_t max_length) {
  const auto num_markers = std::ranges::count(text.ids, image_id);
  if (static_cast<size_t>(num_markers) != image_tokens.size()) {
    return absl::InvalidArgumentError(absl::StrFormat("the text has %d image markers for %d images",
                                                      num_markers, image_tokens.size()));
  }
  ExpandedText expanded;
  const auto left = [&] { return max_length - static_cast<int64_t>(expanded.text.ids.size()); };
  for (size_t i = 0; i < text.ids.size(); ++i) {
    const bool is_image = text.ids[i] == image_id;
    const int64_t count = is_image ? image_tokens[expanded.num_images] : 1;
    if (count > left()) break;
    expanded.text.ids.insert(expanded.text.ids.end(), count, text.ids[i]);
    expanded.text.labels.insert(expanded.text.labels.end(), count,
                                is_image ? kIgnoredLabel : text.labels[i]);
    expanded.num_images += is_image ? 1 : 0;
  }
  return expanded;
}

absl::StatusOr<PackedRow> BuildRow(std::span<const EncodedText> texts, int64_t sequence_length,
                                   int32_t pad_id, int32_t image_id) {
  const auto size = static_cast<size_t>(sequence_length);
  PackedRow row;
  row.ids.assign(size, pad_id);
  row.labels.assign(size, kIgnoredLabel);
  row.loss_mask.assign(size, 0.0f);
  row.position_ids.resize(size);
  std::iota(row.position_ids.begin(), row.position_ids.end(), int64_t{0});
  std::vector<int32_t> borders = {0};
  for (size_t n = 0; n < texts.size(); ++n) {
    const EncodedText& text = texts[n];
    const auto begin = static_cast<size_t>(borders.back());
    if (text.ids.empty()) {
      return absl::InvalidArgumentError(absl::StrFormat("text %d of the row is empty", n));
    }
    if (text.ids.size() > size - begin) {
      return absl::InvalidArgumentError(
          absl::StrFormat("text %d of the row has %d tokens, %d of %d positions are left", n,
                          text.ids.size(), size - begin, size));
    }
    std::ranges::copy(text.ids, row.ids.begin() + static_cast<int64_t>(begin));
    for (size_t i = 1; i < text.labels.size(); ++i) {
      row.labels[begin + i - 1] = text.labels[i];
      if (text.labels[i] != kIgnoredLabel && text.labels[i] != image_id) {
        row.loss_mask[begin + i - 1] = 1.0f;
      }
    }
    borders.push_back(static_cast<int32_t>(begin + text.ids.size()));
  }
  if (texts.size() < 2) return row;
  if (borders.back() < sequence_length) borders.push_back(static_cast<int32_t>(sequence_length));
  for (size_t i = 1; i < borders.size(); ++i) {
    row.max_seqlen = std::max(row.max_seqlen, borders[i] - borders[i - 1]);
  }
  row.cu_seqlens = std::move(borders);
  return row;
}

}  // namespace hetero::data
