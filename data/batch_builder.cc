#include "hetero/data/batch_builder.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/data/row_table.h"

namespace hetero::data {
namespace {

// Has none of any modality then, and the memory that it had.
void Clear(int num_modalities, SampleFacts& facts) {
  facts.modalities.resize(static_cast<size_t>(num_modalities));
  for (ModalityFacts& modality : facts.modalities) {
    modality.num_tokens = 0;
    modality.runs.clear();
    modality.sizes.clear();
  }
}

// Adds a sample whose tokens begin at `begin` of the row to the row's facts.
void AddFacts(const SampleFacts& sample, int64_t begin, SampleFacts& row) {
  for (size_t m = 0; m < sample.modalities.size(); ++m) {
    const ModalityFacts& more = sample.modalities[m];
    ModalityFacts& facts = row.modalities[m];
    for (const IndexRange& run : more.runs) {
      AddPlaceholders({begin + run.first, run.count}, facts);
    }
    facts.sizes.insert(facts.sizes.end(), more.sizes.begin(), more.sizes.end());
  }
}

// Of the row at `place`.
absl::Status AddRow(SampleSource& source, const SampleOrder& order, int64_t place, int modality,
                    MediaBatch& out) {
  out.BeginSample();
  const RowSamples row = order.RowAt(place);
  for (size_t i = 0; i < row.size(); ++i) {
    HETERO_RETURN_IF_ERROR(source.ReadMedia(row[i].index, modality, out));
  }
  return absl::OkStatus();
}

// Whether row and vocabulary have room for `sample` from position `begin` on.
absl::Status CheckFits(const LanguageSample& sample, const RowFormat& format, int64_t begin) {
  const int64_t num_media = sample.NumPlaceholders();
  const auto num_text = static_cast<int64_t>(sample.text.size());
  if (begin + num_media + num_text > format.sequence_length) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "sample %s has %d positions (%d placeholders, %d text tokens); the sequence length is %d",
        sample.name, num_media + num_text, num_media, num_text, format.sequence_length - begin));
  }
  for (int64_t n = 0; n < num_text; ++n) {
    if (sample.text[n] >= 0 && sample.text[n] < format.vocabulary_size) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("sample %s: its text token %d has the id %d; the vocabulary has 0 to %d",
                        sample.name, n, sample.text[n], format.vocabulary_size - 1));
  }
  for (const MediaRun& run : sample.media) {
    if (run.modality < std::ssize(format.placeholder_ids)) continue;
    return absl::InvalidArgumentError(
        absl::StrFormat("sample %s has placeholders of modality %d; the model has %d modalities",
                        sample.name, run.modality, format.placeholder_ids.size()));
  }
  return absl::OkStatus();
}

// Writes `sample` into row `b` behind what it has.
absl::Status AddSample(const LanguageSample& sample, const RowFormat& format, int64_t b,
                       LanguageBatch& out) {
  HETERO_RETURN_IF_ERROR(CheckFits(sample, format, out.num_tokens[b]));
  const int64_t first_place = b * format.sequence_length + out.num_tokens[b];
  int32_t* const tokens = out.tokens.data() + first_place;
  int64_t next = 0;      // of the sample's tokens
  size_t next_text = 0;  // of its text
  // Position t predicts token t + 1 of the same sample; the first token has no predictor.
  const auto add_text = [&](int64_t end) {
    for (; next < end; ++next, ++next_text) {
      tokens[next] = sample.text[next_text];
      const int32_t label = sample.labels[next_text];
      if (next == 0 || label == kIgnoredLabel) continue;
      out.labels[first_place + next - 1] = label;
      out.loss_mask[first_place + next - 1] = 1.0f;
      ++out.num_loss_tokens;
    }
  };
  for (const MediaRun& run : sample.media) {
    add_text(run.tokens.first);
    std::fill_n(tokens + next, run.tokens.count, format.placeholder_ids[run.modality]);
    next = run.tokens.end();
  }
  add_text(sample.NumTokens());
  out.num_tokens[b] += sample.NumTokens();
  out.num_placeholders[b] += sample.NumPlaceholders();
  return absl::OkStatus();
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
  out.borders.assign(1, 0);
  out.num_loss_tokens = 0;
  for (int64_t b = 0; b < range.size; ++b) {
    const RowSamples row = order.RowAt(range.begin + b);
    for (size_t i = 0; i < row.size(); ++i) {
      HETERO_RETURN_IF_ERROR(source.ReadLanguage(row[i].index, scratch));
      const int64_t count = scratch.NumTokens();
      const int64_t planned = row[i].length.value_or(count);
      if (count > 0 && count != planned) {
        return absl::DataLossError(absl::StrFormat(
            "sample %s has %d tokens, it had %d when rows were planned: the data set has changed",
            scratch.name, count, planned));
      }
      HETERO_RETURN_IF_ERROR(AddSample(scratch, format, b, out));
      out.num_tokens[b] += planned - count;
      const bool ends_row = out.num_tokens[b] == length || row.size() == 1;
      if (!ends_row) out.borders.push_back(static_cast<int32_t>(b * length + out.num_tokens[b]));
    }
    out.borders.push_back(static_cast<int32_t>((b + 1) * length));
  }
  return absl::OkStatus();
}

absl::Status BuildMediaBatch(SampleSource& source, const SampleOrder& order, SampleRange range,
                             int modality, MediaBatch& out) {
  out.Clear(source.feature_width(modality));
  for (int64_t b = 0; b < range.size; ++b) {
    HETERO_RETURN_IF_ERROR(AddRow(source, order, range.begin + b, modality, out));
  }
  return absl::OkStatus();
}

absl::Status BuildWantedMedia(SampleSource& source, const SampleOrder& order, int64_t place,
                              int modality, const std::vector<bool>& wanted, MediaBatch& out) {
  out.Clear(source.feature_width(modality));
  out.wanted = wanted;
  return AddRow(source, order, place, modality, out);
}

absl::Status ReadFacts(SampleSource& source, const SampleOrder& order, SampleRange range,
                       int64_t row_length, int num_modalities, std::vector<SampleFacts>& out) {
  out.resize(static_cast<size_t>(range.size));
  SampleFacts one;
  for (int64_t b = 0; b < range.size; ++b) {
    SampleFacts& facts = out[b];
    facts.row_length = row_length;
    Clear(num_modalities, facts);
    const RowSamples row = order.RowAt(range.begin + b);
    int64_t begin = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      Clear(num_modalities, one);
      HETERO_RETURN_IF_ERROR(source.ReadFacts(row[i].index, one));
      AddFacts(one, begin, facts);
      begin += row[i].length.value_or(0);
    }
  }
  return absl::OkStatus();
}

}  // namespace hetero::data
