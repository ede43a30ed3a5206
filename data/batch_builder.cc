#include "hetero/data/batch_builder.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>

#include "absl/strings/str_format.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"

namespace hetero::data {
namespace {

// A row begins with its placeholders, modality after modality. Those of the next one.
IndexRange NextRun(int64_t& next, int64_t num_placeholders) {
  const IndexRange run = {next, num_placeholders};
  next = run.end();
  return run;
}

}  // namespace

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
  out.num_placeholders.assign(static_cast<size_t>(range.size), 0);
  out.num_loss_tokens = 0;
  for (int64_t b = 0; b < range.size; ++b) {
    const std::optional<int64_t> index = order.DatasetIndex(range.begin + b);
    if (!index.has_value()) continue;
    HETERO_RETURN_IF_ERROR(source.ReadLanguage(*index, scratch));
    const std::vector<int64_t>& placeholders = scratch.num_placeholders;
    const int64_t num_media = std::reduce(placeholders.begin(), placeholders.end(), int64_t{0});
    const auto num_text = static_cast<int64_t>(scratch.text.size());
    if (num_media + num_text > length) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "sample %s has %d positions (%d placeholders, %d text tokens); the sequence length is %d",
          scratch.name, num_media + num_text, num_media, num_text, length));
    }
    for (int64_t n = 0; n < num_text; ++n) {
      if (std::ranges::find(format.placeholder_ids, scratch.text[n]) !=
          format.placeholder_ids.end()) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "sample %s: its text token %d has the id %d, which stands for rows of an encoder",
            scratch.name, n, scratch.text[n]));
      }
      if (scratch.text[n] >= 0 && scratch.text[n] < format.vocabulary_size) continue;
      return absl::InvalidArgumentError(
          absl::StrFormat("sample %s: its text token %d has the id %d; the vocabulary has 0 to %d",
                          scratch.name, n, scratch.text[n], format.vocabulary_size - 1));
    }
    const auto row = b * length;
    int32_t* tokens = out.tokens.data() + row;
    int64_t next = 0;
    for (size_t m = 0; m < placeholders.size(); ++m) {
      if (placeholders[m] == 0) continue;
      if (m >= format.placeholder_ids.size()) {
        return absl::InvalidArgumentError(absl::StrFormat(
            "sample %s has placeholders of modality %d; the model has %d modalities", scratch.name,
            m, format.placeholder_ids.size()));
      }
      const IndexRange run = NextRun(next, placeholders[m]);
      std::fill_n(tokens + run.first, run.count, format.placeholder_ids[m]);
    }
    std::copy(scratch.text.begin(), scratch.text.end(), tokens + num_media);
    // Position t predicts token t + 1; the first text token has a predictor only behind a
    // placeholder.
    const int64_t first = std::max<int64_t>(num_media - 1, 0);
    for (int64_t t = first; t + 1 < num_media + num_text; ++t) {
      out.labels[row + t] = tokens[t + 1];
      out.loss_mask[row + t] = 1.0f;
      ++out.num_loss_tokens;
    }
    out.num_tokens[b] = num_media + num_text;
    out.num_placeholders[b] = num_media;
  }
  return absl::OkStatus();
}

absl::Status BuildMediaBatch(SampleSource& source, const SampleOrder& order, SampleRange range,
                             int modality, MediaBatch& out) {
  out.Clear(source.feature_width(modality));
  for (int64_t b = 0; b < range.size; ++b) {
    out.BeginSample();
    const std::optional<int64_t> index = order.DatasetIndex(range.begin + b);
    if (!index.has_value()) continue;
    HETERO_RETURN_IF_ERROR(source.ReadMedia(*index, modality, out));
  }
  return absl::OkStatus();
}

absl::Status ReadFacts(SampleSource& source, const SampleOrder& order, SampleRange range,
                       int64_t row_length, int num_modalities, std::vector<SampleFacts>& out) {
  out.resize(static_cast<size_t>(range.size));
  for (int64_t b = 0; b < range.size; ++b) {
    SampleFacts& facts = out[b];
    facts.row_length = row_length;
    facts.modalities.resize(num_modalities);
    for (ModalityFacts& modality : facts.modalities) {
      modality.num_tokens = 0;
      modality.runs.clear();
      modality.sizes.clear();
    }
    const std::optional<int64_t> index = order.DatasetIndex(range.begin + b);
    if (!index.has_value()) continue;
    HETERO_RETURN_IF_ERROR(source.ReadFacts(*index, facts));
    int64_t next = 0;
    for (ModalityFacts& modality : facts.modalities) {
      if (modality.num_tokens > 0) modality.runs.push_back(NextRun(next, modality.num_tokens));
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
