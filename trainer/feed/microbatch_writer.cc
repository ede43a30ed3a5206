#include "hetero/trainer/feed/microbatch_writer.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/index_range.h"
#include "hetero/base/status.h"
#include "hetero/grid/rank.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/checked_facts.h"

namespace hetero {
namespace {

// In the type of `to`.
void Store(std::span<const float> values, const TensorView& to) {
  CHECK_EQ(to.num_elements(), std::ssize(values));
  if (to.dtype() == DType::kBF16) {
    std::ranges::transform(values, to.data<BFloat16>(),
                           [](float value) { return BFloat16(value); });
  } else {
    std::ranges::copy(values, to.data<float>());
  }
}

}  // namespace

MicrobatchWriter::MicrobatchWriter(std::shared_ptr<const BatchFeedOptions> options,
                                   std::unique_ptr<data::SampleSource> source,
                                   std::shared_ptr<MediaShares> shares)
    : options_(std::move(options)),
      source_(std::move(source)),
      shares_(std::move(shares)),
      format_{.sequence_length = options_->sequence_length,
              .vocabulary_size = options_->vocabulary_size,
              .placeholder_ids = {},
              .pad_id = static_cast<int32_t>(options_->pad_token_id)},
      positions_(options_->modalities.size()),
      num_placed_(options_->modalities.size()) {
  for (const Modality& modality : options_->modalities) {
    format_.placeholder_ids.push_back(static_cast<int32_t>(modality.placeholder_id));
  }
}

absl::Status MicrobatchWriter::Write(int64_t step, int microbatch, HostMicrobatch& out) {
  HETERO_RETURN_IF_ERROR(out.copied.Synchronize());
  std::shared_ptr<const StepShares> shares;
  if (shares_ != nullptr) {
    HETERO_ASSIGN_OR_RETURN(shares, shares_->Of(step));
  }
  HETERO_RETURN_IF_ERROR(
      WriteAll(data::LaneSamples(options_->batch, options_->position, step, microbatch),
               shares == nullptr ? nullptr : &shares->microbatches.at(microbatch), out))
      .With(absl::StrCat("microbatch ", microbatch));
  return absl::OkStatus();
}

absl::Status MicrobatchWriter::WriteAll(data::SampleRange range, const MicrobatchShares* shares,
                                        HostMicrobatch& out) {
  const data::SampleRange own = options_->lane_samples();
  if (shares == nullptr) {
    HETERO_RETURN_IF_ERROR(ReadCheckedFacts(*options_, *source_, range, facts_));
  } else {
    facts_.assign(shares->samples.begin() + own.begin,
                  shares->samples.begin() + own.begin + own.size);
  }
  if (options_->reads_tokens) {
    HETERO_RETURN_IF_ERROR(WriteTokens(range, out));
  }
  out.use.has_media = false;
  for (size_t read = 0; read < options_->reads.size(); ++read) {
    const int modality = options_->reads[read];
    out.use.has_media |= std::ranges::any_of(facts_, [&](const SampleFacts& sample) {
      return !sample.modalities[modality].sizes.empty();
    });
    out.use.num_features[read] = 0;
    out.use.sizes[read].clear();
    const bool is_shared = shares != nullptr && modality == options_->balanced->modality;
    if (!options_->reads_features) {
      WriteSizes(read, is_shared ? shares : nullptr, out);
    } else if (is_shared) {
      HETERO_RETURN_IF_ERROR(WriteShare(range.begin - own.begin, *shares, read, out));
    } else {
      HETERO_RETURN_IF_ERROR(WriteFeatures(range, read, out));
    }
  }
  return absl::OkStatus();
}

absl::Status MicrobatchWriter::WriteTokens(data::SampleRange range, HostMicrobatch& out) {
  out.use.num_text_tokens = 0;
  out.use.num_loss_tokens = 0;
  out.use.token_offsets.assign(1, 0);
  out.use.cu_seqlens.assign(1, 0);
  std::ranges::fill(num_placed_, 0);
  for (size_t e = 0; e < options_->edges.size(); ++e) {
    positions_[options_->edges[e]] = out.tensors.modality_positions[e].values<int32_t>();
  }
  for (int64_t row = 0; row < range.size; ++row) {
    HETERO_RETURN_IF_ERROR(data::BuildLanguageBatch(
        *source_, options_->samples->order, {range.begin + row, 1}, format_, language_, row_));
    HETERO_RETURN_IF_ERROR(CheckPlaceholders(facts_[row]));
    SplitRow(row, out);
  }
  std::ranges::copy(out.use.token_offsets, out.tensors.token_offsets.data<int32_t>());
  out.use.placeholders.clear();
  for (const int modality : options_->edges) out.use.placeholders.push_back(num_placed_[modality]);
  return absl::OkStatus();
}

absl::Status MicrobatchWriter::CheckPlaceholders(const SampleFacts& facts) const {
  for (size_t m = 0; m < format_.placeholder_ids.size(); ++m) {
    const int64_t in_text = std::ranges::count(row_.tokens, format_.placeholder_ids[m]);
    const int64_t rows = facts.modalities[m].num_tokens;
    if (in_text == rows) continue;
    const std::string& name = options_->modalities[m].name;
    return absl::InvalidArgumentError(absl::StrCat("sample ", language_.name, " has ", in_text, " ",
                                                   name, " tokens in its text, its ", name,
                                                   " data give ", rows, " rows"));
  }
  return absl::OkStatus();
}

void MicrobatchWriter::SplitRow(int64_t row, HostMicrobatch& out) {
  const std::vector<int32_t>& placeholders = format_.placeholder_ids;
  const IndexRange own = options_->owner().own();
  const auto text_tokens = out.tensors.text_tokens.values<int32_t>();
  const auto text_positions = out.tensors.text_positions.values<int32_t>();
  const auto loss_positions = out.tensors.loss_positions.values<int32_t>();
  const auto loss_targets = out.tensors.loss_targets.values<int32_t>();
  const auto loss_weights = out.tensors.loss_weights.values<float>();
  int64_t num_text = out.use.num_text_tokens;
  int64_t num_loss = out.use.num_loss_tokens;
  for (int64_t position = 0; position < options_->sequence_length; ++position) {
    const auto t = static_cast<int32_t>(row * options_->sequence_length + position);
    const int32_t token = row_.tokens[position];
    const auto m =
        static_cast<size_t>(std::ranges::find(placeholders, token) - placeholders.begin());
    if (m < placeholders.size()) {
      const bool owned = own.first <= t && t < own.end();
      if (owned) positions_[m][num_placed_[m]++] = static_cast<int32_t>(t - own.first);
    } else {
      text_tokens[num_text] = token;
      text_positions[num_text++] = t;
    }
    if (row_.loss_mask[position] == 0.0f) continue;
    loss_positions[num_loss] = t;
    loss_targets[num_loss] = row_.labels[position];
    loss_weights[num_loss++] = row_.loss_mask[position];
  }
  out.use.num_text_tokens = num_text;
  out.use.num_loss_tokens = num_loss;
  std::vector<int32_t>& offsets = out.use.token_offsets;
  offsets.push_back(offsets.back() + static_cast<int32_t>(row_.num_tokens[0]));
  AddBorders(row, out);
}

void MicrobatchWriter::AddBorders(int64_t row, HostMicrobatch& out) {
  std::vector<int32_t>& borders = out.use.cu_seqlens;
  for (size_t i = 1; i < row_.borders.size(); ++i) {
    const auto sequence = static_cast<int32_t>(borders.size()) - 1;
    borders.push_back(static_cast<int32_t>(row * options_->sequence_length) + row_.borders[i]);
    if (out.tensors.sequence_index.is_null()) continue;
    const auto index = out.tensors.sequence_index.values<int32_t>();
    std::fill(index.begin() + borders[borders.size() - 2], index.begin() + borders.back(),
              sequence);
  }
}

absl::Status MicrobatchWriter::WriteFeatures(data::SampleRange range, size_t read,
                                             HostMicrobatch& out) {
  const int modality = options_->reads[read];
  for (int64_t i = 0; i < range.size; ++i) {
    HETERO_RETURN_IF_ERROR(data::BuildMediaBatch(*source_, options_->samples->order,
                                                 {range.begin + i, 1}, modality, media_));
    HETERO_RETURN_IF_ERROR(
        AddFeatures(range.begin + i, facts_[i].modalities[modality].num_tokens, read, out));
  }
  return absl::OkStatus();
}

absl::Status MicrobatchWriter::WriteShare(int64_t begin, const MicrobatchShares& shares,
                                          size_t read, HostMicrobatch& out) {
  std::vector<bool> own;
  for (size_t i = 0; i < shares.media.size(); ++i) {
    own.clear();
    int64_t num_tokens = 0;
    for (const LaneRows& media : shares.media[i]) {
      own.push_back(media.lane == LaneId(options_->position.lane));
      if (own.back()) num_tokens += media.num_rows;
    }
    if (std::ranges::count(own, true) == 0) continue;
    const int64_t place = begin + static_cast<int64_t>(i);
    HETERO_RETURN_IF_ERROR(data::BuildWantedMedia(*source_, options_->samples->order, place,
                                                  options_->reads[read], own, media_));
    HETERO_RETURN_IF_ERROR(AddFeatures(place, num_tokens, read, out));
  }
  return absl::OkStatus();
}

absl::Status MicrobatchWriter::AddFeatures(int64_t place, int64_t num_tokens, size_t read,
                                           HostMicrobatch& out) {
  const int modality = options_->reads[read];
  const std::string& name = options_->modalities[modality].name;
  if (media_.num_placeholders[0] != num_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("sample ", SampleName(place), " has ", name,
                                                   " data of ", media_.num_placeholders[0],
                                                   " tokens, its metadata say ", num_tokens));
  }
  int64_t& used = out.use.num_features[read];
  const int64_t num_features = media_.NumFeatures();
  if (used + num_features > options_->max_features(modality)) {
    return absl::InvalidArgumentError(absl::StrCat(name, " data of ", used + num_features,
                                                   " rows of features, the run is "
                                                   "sized for ",
                                                   options_->max_features(modality)));
  }
  Store(media_.features, out.tensors.features[read].Rows(used, num_features));
  used += num_features;
  out.use.sizes[read].insert(out.use.sizes[read].end(), media_.sizes.begin(), media_.sizes.end());
  return absl::OkStatus();
}

void MicrobatchWriter::WriteSizes(size_t read, const MicrobatchShares* shares,
                                  HostMicrobatch& out) const {
  const int modality = options_->reads[read];
  std::vector<MediaSize>& sizes = out.use.sizes[read];
  if (shares != nullptr) {
    sizes = shares->OfLane(options_->position.lane, modality).modalities[modality].sizes;
    return;
  }
  for (const SampleFacts& sample : facts_) {
    const std::vector<MediaSize>& more = sample.modalities[modality].sizes;
    sizes.insert(sizes.end(), more.begin(), more.end());
  }
}

std::string MicrobatchWriter::SampleName(int64_t place) {
  const std::optional<int64_t> index = options_->samples->order.DatasetIndex(place);
  if (!index || !source_->ReadLanguage(*index, language_).ok()) return absl::StrCat(place);
  return language_.name;
}

}  // namespace hetero
