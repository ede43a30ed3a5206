#include "hetero/data/batch_builder.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_format.h"
#include "hetero/base/status.h"

namespace hetero::data {

absl::Status BuildLanguageBatch(SampleSource& source, const SampleOrder& order, SampleRange range,
                                const RowFormat& format, LanguageSample& scratch,
                                LanguageBatch& out) {
  const int64_t length = format.sequence_length;
  const auto size = static_cast<size_t>(range.size * length);
  out.num_samples = range.size;
  out.sequence_length = length;
  out.tokens.assign(size, format.pad_id);
  out.labels.assign(size, kIgnoredLabel);
  out.loss_mask.assign(size, 0.0f);
  out.num_tokens.assign(static_cast<size_t>(range.size), 0);
  out.num_image_tokens.assign(static_cast<size_t>(range.size), 0);
  out.num_loss_tokens = 0;
  for (int64_t b = 0; b < range.size; ++b) {
    const std::optional<int64_t> index = order.DatasetIndex(range.begin + b);
    if (!index.has_value()) continue;
    HETERO_RETURN_IF_ERROR(source.ReadLanguage(*index, scratch));
    const int64_t num_image = scratch.num_image_tokens;
    const auto num_text = static_cast<int64_t>(scratch.text.size());
    if (num_image + num_text > length) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "sample %s has %d positions (%d image tokens, %d text tokens); the sequence length is %d",
          scratch.name, num_image + num_text, num_image, num_text, length));
    }
    for (int64_t n = 0; n < num_text; ++n) {
      if (scratch.text[n] >= 0 && scratch.text[n] < format.vocabulary_size) continue;
      return absl::InvalidArgumentError(
          absl::StrFormat("sample %s: its text token %d has the id %d; the vocabulary has 0 to %d",
                          scratch.name, n, scratch.text[n], format.vocabulary_size - 1));
    }
    const auto row = b * length;
    int32_t* tokens = out.tokens.data() + row;
    std::fill_n(tokens, num_image, format.image_id);
    std::copy(scratch.text.begin(), scratch.text.end(), tokens + num_image);
    // Position t predicts token t + 1; the first text token has a predictor only behind an image.
    const int64_t first = std::max<int64_t>(num_image - 1, 0);
    for (int64_t t = first; t + 1 < num_image + num_text; ++t) {
      out.labels[row + t] = tokens[t + 1];
      out.loss_mask[row + t] = 1.0f;
      ++out.num_loss_tokens;
    }
    out.num_tokens[b] = num_image + num_text;
    out.num_image_tokens[b] = num_image;
  }
  return absl::OkStatus();
}

absl::Status BuildImageBatch(SampleSource& source, const SampleOrder& order, SampleRange range,
                             ImageBatch& out) {
  out.Clear(source.limits().patch_elements);
  for (int64_t b = 0; b < range.size; ++b) {
    out.BeginSample();
    const std::optional<int64_t> index = order.DatasetIndex(range.begin + b);
    if (!index.has_value()) continue;
    HETERO_RETURN_IF_ERROR(source.ReadImages(*index, out));
  }
  return absl::OkStatus();
}

absl::Status ReadFacts(SampleSource& source, const SampleOrder& order, SampleRange range,
                       int64_t row_length, std::vector<SampleFacts>& out) {
  out.resize(static_cast<size_t>(range.size));
  for (int64_t b = 0; b < range.size; ++b) {
    SampleFacts& facts = out[b];
    facts.row_length = row_length;
    facts.num_image_tokens = 0;
    facts.images.clear();
    const std::optional<int64_t> index = order.DatasetIndex(range.begin + b);
    if (!index.has_value()) continue;
    HETERO_RETURN_IF_ERROR(source.ReadFacts(*index, facts));
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
