#include "hetero/trainer/feed/feed.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/rounding.h"
#include "hetero/base/status.h"
#include "hetero/data/batch_builder.h"
#include "hetero/data/image/image.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/view.h"

namespace hetero {
namespace {

// Batches that wait in a loader: one hides the time of a batch, the second its spread.
constexpr int kPrefetchDepth = 2;

// Microbatches that the host may be ahead of a GPU, beyond those in slots: enough for the copies to
// have passed when their staging memory comes round again.
constexpr size_t kStagedAhead = 2;

// Of all samples in `ranges`.
std::vector<data::SampleRange> Join(std::vector<data::SampleRange> ranges) {
  std::ranges::sort(ranges, {}, &data::SampleRange::begin);
  std::vector<data::SampleRange> joined;
  for (const data::SampleRange& range : ranges) {
    if (joined.empty() || range.begin > joined.back().begin + joined.back().size) {
      joined.push_back(range);
      continue;
    }
    const int64_t end =
        std::max(joined.back().begin + joined.back().size, range.begin + range.size);
    joined.back().size = end - joined.back().begin;
  }
  return joined;
}

}  // namespace

BatchFeed::BatchFeed(const BatchFeedOptions& options)
    : options_(options),
      num_samples_(options_.batch.samples_per_microbatch / options.position.num_lanes),
      slots_(options.num_slots),
      facts_(options_.batch.NumMicrobatches()),
      media_(options.reads.size()) {
  counted_ = options.counted;
  counted_.push_back(own_samples());
  counted_ = Join(std::move(counted_));
  for (int64_t row = 0; row <= num_samples_; ++row) {
    cu_seqlens_.push_back(static_cast<int32_t>(row * options.sequence_length));
  }
}

absl::StatusOr<BatchFeed> BatchFeed::Create(const BatchFeedOptions& options, MemoryLedger& ledger) {
  HETERO_RETURN_IF_ERROR(data::Validate(options.batch, options.position));
  BatchFeed feed(options);
  HETERO_RETURN_IF_ERROR(feed.Allocate(ledger));
  if (feed.shape_only()) {
    feed.FillShapes();
    return feed;
  }
  CHECK(options.samples.has_value());
  HETERO_ASSIGN_OR_RETURN(feed.source_, options.samples->open());
  return feed;
}

int64_t BatchFeed::LayOut(void* memory, Tensors& tensors) const {
  int64_t bytes = 0;
  const auto place = [&](TensorView& tensor, DType dtype, std::initializer_list<int64_t> dims) {
    tensor = TensorView(static_cast<char*>(memory) + bytes, dtype, dims);
    bytes += RoundUp(tensor.num_bytes(), Buffer::kAlignment);
  };
  if (options_.reads_tokens) {
    for (TensorView* tensor : {&tensors.text_tokens, &tensors.text_positions,
                               &tensors.loss_positions, &tensors.loss_targets}) {
      place(*tensor, DType::kI32, {num_tokens()});
    }
    place(tensors.loss_weights, DType::kF32, {num_tokens()});
    tensors.modality_positions.resize(options_.edges.size());
    for (size_t e = 0; e < options_.edges.size(); ++e) {
      place(tensors.modality_positions[e], DType::kI32, {max_rows(options_.edges[e])});
    }
    place(tensors.token_offsets, DType::kI32, {num_samples_ + 1});
  }
  tensors.features.resize(options_.reads.size());
  for (size_t read = 0; options_.reads_features && read < options_.reads.size(); ++read) {
    const int modality = options_.reads[read];
    place(tensors.features[read], options_.storage,
          {max_features(modality), options_.limits.modalities[modality].feature_width});
  }
  return bytes;
}

absl::Status BatchFeed::Allocate(MemoryLedger& ledger) {
  Tensors unplaced;
  const int64_t bytes = LayOut(reinterpret_cast<void*>(kShapeOnlyAddress), unplaced);
  for (Slot& slot : slots_) {
    HETERO_ASSIGN_OR_RETURN(slot.memory,
                            Buffer::Allocate(options_.device, MemoryLabel::kData, bytes, ledger));
    LayOut(slot.memory.address(), slot.tensors);
    slot.token_offsets.reserve(num_samples_ + 1);
    slot.modality_views.resize(options_.edges.size());
    slot.sizes.resize(options_.reads.size());
    slot.modality_batches.resize(options_.reads.size());
  }
  if (options_.device.kind != DeviceKind::kCuda) return absl::OkStatus();
  staging_.resize(slots_.size() + kStagedAhead);
  for (Staging& staging : staging_) {
    HETERO_ASSIGN_OR_RETURN(staging.memory, PinnedBuffer::Allocate(options_.device, bytes));
    LayOut(staging.memory.address(), staging.tensors);
    HETERO_ASSIGN_OR_RETURN(staging.copied, Event::Create(options_.device));
  }
  return absl::OkStatus();
}

void BatchFeed::PublishTokens(Slot& slot, std::span<const int64_t> placeholders,
                              int64_t num_loss_tokens) {
  const Tensors& tensors = slot.tensors;
  int64_t num_text_tokens = num_tokens();
  for (size_t e = 0; e < placeholders.size(); ++e) {
    slot.modality_views[e] = tensors.modality_positions[e].Rows(0, placeholders[e]);
    num_text_tokens -= placeholders[e];
  }
  slot.token_batch = {.sequences = {.num_rows = num_samples_,
                                    .row_length = options_.sequence_length,
                                    .cu_seqlens = cu_seqlens_,
                                    .sequence_index = {},
                                    .token_offsets = slot.token_offsets,
                                    .device_token_offsets = tensors.token_offsets},
                      .text_tokens = tensors.text_tokens.Rows(0, num_text_tokens),
                      .text_positions = tensors.text_positions.Rows(0, num_text_tokens),
                      .modality_positions = slot.modality_views,
                      .loss_positions = tensors.loss_positions.Rows(0, num_loss_tokens),
                      .loss_targets = tensors.loss_targets.Rows(0, num_loss_tokens),
                      .loss_weights = tensors.loss_weights.Rows(0, num_loss_tokens)};
}

void BatchFeed::PublishMedia(Slot& slot, size_t read, int64_t num_features) {
  ModalityBatch& batch = slot.modality_batches[read];
  batch = {.features = {}, .sizes = slot.sizes[read]};
  if (options_.reads_features) batch.features = slot.tensors.features[read].Rows(0, num_features);
}

void BatchFeed::FillShapes() {
  int64_t num_counted = 0;
  for (const data::SampleRange& range : counted_) num_counted += range.size;
  for (MicrobatchFacts& facts : facts_) facts.samples.assign(num_counted, LargestSample());
  std::vector<int64_t> placeholders;
  for (const int modality : options_.edges) placeholders.push_back(max_rows(modality));
  for (Slot& slot : slots_) {
    if (options_.reads_tokens) {
      slot.token_offsets = cu_seqlens_;
      PublishTokens(slot, placeholders, num_tokens());
    }
    for (size_t read = 0; read < options_.reads.size(); ++read) {
      const int modality = options_.reads[read];
      const std::vector<MediaSize>& sizes = options_.limits.modalities[modality].sizes;
      for (int64_t i = 0; i < num_samples_; ++i) {
        slot.sizes[read].insert(slot.sizes[read].end(), sizes.begin(), sizes.end());
      }
      PublishMedia(slot, read, max_features(modality));
    }
  }
}

data::LoaderOptions BatchFeed::LoaderFrom(int64_t step) const {
  return {.order = options_.samples->order,
          .layout = options_.batch,
          .position = options_.position,
          .first_step = step,
          .prefetch_depth = kPrefetchDepth};
}

template <typename Batch, typename Make>
absl::StatusOr<data::BatchLease<Batch>> BatchFeed::Take(Reader<Batch>& reader, int64_t step,
                                                        int microbatch, Make make) {
  const int64_t first = step * options_.batch.NumMicrobatches();
  if (reader.loader == nullptr || reader.next != first + microbatch) {
    reader.loader = nullptr;
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, options_.samples->open());
    HETERO_ASSIGN_OR_RETURN(reader.loader, make(std::move(source), LoaderFrom(step)));
    for (reader.next = first; reader.next < first + microbatch; ++reader.next) {
      HETERO_RETURN_IF_ERROR(reader.loader->Next());
    }
  }
  HETERO_ASSIGN_OR_RETURN(data::BatchLease<Batch> batch, reader.loader->Next());
  ++reader.next;
  return batch;
}

absl::StatusOr<FeedInput> BatchFeed::Load(int slot, int64_t step, int microbatch, Stream& stream) {
  Slot& loaded = slots_.at(slot);
  if (!shape_only()) {
    Staging* const staging = staging_.empty() ? nullptr : &staging_[next_staging_];
    if (staging != nullptr) {
      next_staging_ = (next_staging_ + 1) % staging_.size();
      HETERO_RETURN_IF_ERROR(staging->copied.Synchronize());
    }
    const Tensors& host = staging != nullptr ? staging->tensors : loaded.tensors;
    const auto lane = [this] {
      return absl::StrCat("lane ", options_.position.lane, " of ", options_.position.num_lanes);
    };
    if (options_.reads_tokens) {
      HETERO_RETURN_IF_ERROR(LoadTokens(loaded, host, step, microbatch)).With(lane());
    }
    for (size_t read = 0; read < options_.reads.size(); ++read) {
      HETERO_RETURN_IF_ERROR(options_.reads_features
                                 ? LoadMedia(loaded, read, host, step, microbatch)
                                 : LoadSizes(loaded, read, step, microbatch))
          .With(lane());
    }
    if (staging != nullptr) {
      HETERO_RETURN_IF_ERROR(CopyToSlot(host, loaded, stream));
      HETERO_RETURN_IF_ERROR(staging->copied.Record(stream));
    }
  }
  return FeedInput{.tokens = options_.reads_tokens ? &loaded.token_batch : nullptr,
                   .modalities = loaded.modality_batches};
}

absl::Status BatchFeed::CopyToSlot(const Tensors& host, const Slot& slot, Stream& stream) const {
  const auto copy = [&](const TensorView& from, const TensorView& to, const ConstTensorView& used) {
    const int64_t rows = used.dim(0);
    return CopyToDevice(from.Rows(0, rows), to.Rows(0, rows), stream);
  };
  const Tensors& device = slot.tensors;
  const TokenBatch& tokens = slot.token_batch;
  if (options_.reads_tokens) {
    HETERO_RETURN_IF_ERROR(copy(host.text_tokens, device.text_tokens, tokens.text_tokens));
    HETERO_RETURN_IF_ERROR(copy(host.text_positions, device.text_positions, tokens.text_positions));
    HETERO_RETURN_IF_ERROR(copy(host.loss_positions, device.loss_positions, tokens.loss_positions));
    HETERO_RETURN_IF_ERROR(copy(host.loss_targets, device.loss_targets, tokens.loss_targets));
    HETERO_RETURN_IF_ERROR(copy(host.loss_weights, device.loss_weights, tokens.loss_weights));
    for (size_t e = 0; e < slot.modality_views.size(); ++e) {
      HETERO_RETURN_IF_ERROR(
          copy(host.modality_positions[e], device.modality_positions[e], slot.modality_views[e]));
    }
    HETERO_RETURN_IF_ERROR(
        copy(host.token_offsets, device.token_offsets, tokens.sequences.device_token_offsets));
  }
  for (size_t read = 0; options_.reads_features && read < options_.reads.size(); ++read) {
    HETERO_RETURN_IF_ERROR(
        copy(host.features[read], device.features[read], slot.modality_batches[read].features));
  }
  return absl::OkStatus();
}

absl::Status BatchFeed::LoadTokens(Slot& slot, const Tensors& host, int64_t step, int microbatch) {
  const std::vector<Modality>& modalities = options_.modalities;
  std::vector<int32_t> placeholder_ids;
  for (const Modality& modality : modalities) {
    placeholder_ids.push_back(static_cast<int32_t>(modality.placeholder_id));
  }
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, LaneFacts(step, microbatch));
  HETERO_ASSIGN_OR_RETURN(
      const data::BatchLease<data::LanguageBatch> batch,
      Take(language_, step, microbatch, [&](auto source, const data::LoaderOptions& loader) {
        return data::MakeLanguageLoader(std::move(source), loader,
                                        {.sequence_length = options_.sequence_length,
                                         .vocabulary_size = options_.vocabulary_size,
                                         .placeholder_ids = placeholder_ids,
                                         .pad_id = static_cast<int32_t>(options_.pad_token_id)});
      }));

  const int64_t length = options_.sequence_length;
  const auto text_tokens = host.text_tokens.values<int32_t>();
  const auto text_positions = host.text_positions.values<int32_t>();
  // Of each modality: where it goes, and how many of a row and of all rows there are.
  std::vector<std::span<int32_t>> positions(modalities.size());
  std::vector<int64_t> in_row(modalities.size()), in_batch(modalities.size());
  for (size_t e = 0; e < options_.edges.size(); ++e) {
    positions[options_.edges[e]] = host.modality_positions[e].values<int32_t>();
  }
  int64_t num_text = 0;
  for (int64_t row = 0; row < num_samples_; ++row) {
    const int32_t* tokens = batch->tokens.data() + row * length;
    for (size_t m = 0; m < modalities.size(); ++m) {
      in_row[m] = std::count(tokens, tokens + length, placeholder_ids[m]);
      const int64_t rows = facts[row].modalities[m].num_tokens;
      if (in_row[m] == rows) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "step ", step, ", microbatch ", microbatch, ": sample ",
          SampleName(step, microbatch, row), " has ", in_row[m], " ", modalities[m].name,
          " tokens in its text, its ", modalities[m].name, " data give ", rows, " rows"));
    }
    for (int64_t position = 0; position < length; ++position) {
      const auto t = static_cast<int32_t>(row * length + position);
      const auto m = static_cast<size_t>(std::ranges::find(placeholder_ids, tokens[position]) -
                                         placeholder_ids.begin());
      if (m < modalities.size()) {
        positions[m][in_batch[m]++] = t;
      } else {
        text_tokens[num_text] = tokens[position];
        text_positions[num_text++] = t;
      }
    }
  }
  const auto loss_positions = host.loss_positions.values<int32_t>();
  const auto loss_targets = host.loss_targets.values<int32_t>();
  const auto loss_weights = host.loss_weights.values<float>();
  int64_t num_loss = 0;
  for (int64_t t = 0; t < num_tokens(); ++t) {
    if (batch->loss_mask[t] == 0.0f) continue;
    loss_positions[num_loss] = static_cast<int32_t>(t);
    loss_targets[num_loss] = batch->labels[t];
    loss_weights[num_loss++] = batch->loss_mask[t];
  }
  slot.token_offsets.assign(1, 0);
  for (const int64_t count : batch->num_tokens) {
    slot.token_offsets.push_back(slot.token_offsets.back() + static_cast<int32_t>(count));
  }
  std::ranges::copy(slot.token_offsets, host.token_offsets.data<int32_t>());
  std::vector<int64_t> placeholders;
  for (const int modality : options_.edges) placeholders.push_back(in_batch[modality]);
  PublishTokens(slot, placeholders, num_loss);
  return absl::OkStatus();
}

absl::Status BatchFeed::LoadMedia(Slot& slot, size_t read, const Tensors& host, int64_t step,
                                  int microbatch) {
  const int modality = options_.reads[read];
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, LaneFacts(step, microbatch));
  HETERO_ASSIGN_OR_RETURN(const data::BatchLease<data::MediaBatch> batch,
                          Take(media_[read], step, microbatch,
                               [modality](auto source, const data::LoaderOptions& loader) {
                                 return data::MakeMediaLoader(std::move(source), modality, loader);
                               }));
  const auto context = [&] {
    return absl::StrCat("step ", step, ", microbatch ", microbatch, ": ");
  };
  const std::string& name = options_.modalities[modality].name;
  for (int64_t i = 0; i < num_samples_; ++i) {
    const int64_t tokens = facts[i].modalities[modality].num_tokens;
    if (batch->num_placeholders[i] == tokens) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        context(), "sample ", SampleName(step, microbatch, i), " has ", name, " data of ",
        batch->num_placeholders[i], " tokens, its metadata say ", tokens));
  }
  if (batch->NumFeatures() > max_features(modality)) {
    return absl::InvalidArgumentError(
        absl::StrCat(context(), name, " data of ", batch->NumFeatures(),
                     " rows of features, the run is sized for ", max_features(modality)));
  }
  if (options_.storage == DType::kBF16) {
    std::ranges::transform(batch->features, host.features[read].data<BFloat16>(),
                           [](float value) { return BFloat16(value); });
  } else {
    std::ranges::copy(batch->features, host.features[read].data<float>());
  }
  slot.sizes[read].assign(batch->sizes.begin(), batch->sizes.end());
  PublishMedia(slot, read, batch->NumFeatures());
  return absl::OkStatus();
}

absl::Status BatchFeed::LoadSizes(Slot& slot, size_t read, int64_t step, int microbatch) {
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, LaneFacts(step, microbatch));
  std::vector<MediaSize>& sizes = slot.sizes[read];
  sizes.clear();
  for (const SampleFacts& sample : facts) {
    const std::vector<MediaSize>& more = sample.modalities[options_.reads[read]].sizes;
    sizes.insert(sizes.end(), more.begin(), more.end());
  }
  PublishMedia(slot, read, 0);
  return absl::OkStatus();
}

SampleFacts BatchFeed::LargestSample() const {
  SampleFacts largest = {.row_length = options_.sequence_length, .modalities = {}};
  for (const ModalityLimits& modality : options_.limits.modalities) {
    largest.modalities.push_back({.num_tokens = modality.max_tokens, .sizes = modality.sizes});
  }
  return largest;
}

absl::StatusOr<std::span<const SampleFacts>> BatchFeed::Facts(int64_t step, int microbatch,
                                                              data::SampleRange range) {
  MicrobatchFacts& facts = facts_.at(microbatch);
  if (!shape_only() && facts.step != step) {
    facts.step = -1;
    HETERO_RETURN_IF_ERROR(ReadFacts(step, microbatch, facts))
        .With(absl::StrCat("step ", step, ", microbatch ", microbatch));
    facts.step = step;
  }
  // Counted ranges are joined: one of them has all of `range`.
  int64_t before = 0;
  for (const data::SampleRange& counted : counted_) {
    const int64_t first = range.begin - counted.begin;
    if (first >= 0 && first + range.size <= counted.size) {
      return std::span(facts.samples).subspan(before + first, range.size);
    }
    before += counted.size;
  }
  return absl::InternalError(absl::StrCat("samples [", range.begin, ", ", range.begin + range.size,
                                          ") of a microbatch are not counted"));
}

absl::Status BatchFeed::ReadFacts(int64_t step, int microbatch, MicrobatchFacts& facts) {
  const int64_t first = data::MicrobatchSamples(options_.batch, step, microbatch).begin;
  facts.samples.clear();
  for (const data::SampleRange& counted : counted_) {
    std::vector<SampleFacts> samples;
    HETERO_RETURN_IF_ERROR(data::ReadFacts(
        *source_, options_.samples->order, {first + counted.begin, counted.size},
        options_.sequence_length, static_cast<int>(options_.modalities.size()), samples));
    for (int64_t i = 0; i < counted.size; ++i) {
      HETERO_RETURN_IF_ERROR(CheckLimits(first + counted.begin + i, samples[i]));
    }
    std::ranges::move(samples, std::back_inserter(facts.samples));
  }
  return absl::OkStatus();
}

absl::Status BatchFeed::CheckLimits(int64_t place, const SampleFacts& sample) const {
  for (size_t m = 0; m < options_.modalities.size(); ++m) {
    const int64_t tokens = sample.modalities[m].num_tokens;
    const int64_t most = options_.limits.modalities[m].max_tokens;
    if (tokens <= most) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("sample ", *options_.samples->order.DatasetIndex(place),
                     " of the data set has ", options_.modalities[m].name, " data of ", tokens,
                     " tokens, the run is sized for ", most, " a sample"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<const SampleFacts>> BatchFeed::LaneFacts(int64_t step, int microbatch) {
  return Facts(step, microbatch, own_samples());
}

std::string BatchFeed::SampleName(int64_t step, int microbatch, int64_t lane_sample) {
  const int64_t place =
      data::LaneSamples(options_.batch, options_.position, step, microbatch).begin + lane_sample;
  const std::optional<int64_t> index = options_.samples->order.DatasetIndex(place);
  data::LanguageSample sample;
  if (!index || !source_->ReadLanguage(*index, sample).ok()) return absl::StrCat(place);
  return sample.name;
}

}  // namespace hetero
