#include "hetero/trainer/feed.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/log/check.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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

// Of models without images: no token has it.
constexpr int32_t kNoToken = -1;

int32_t ImageTokenId(const BatchFeedOptions& options) {
  return options.image_token_id ? static_cast<int32_t>(*options.image_token_id) : kNoToken;
}

}  // namespace

BatchFeed::BatchFeed(const BatchFeedOptions& options)
    : options_(options),
      layout_{.global_batch_size = options.batch.global_batch_size,
              .samples_per_microbatch = options.batch.samples_per_microbatch()},
      num_samples_(layout_.samples_per_microbatch / options.position.num_lanes),
      slots_(options.num_slots),
      facts_(layout_.NumMicrobatches()) {
  for (int64_t row = 0; row <= num_samples_; ++row) {
    cu_seqlens_.push_back(static_cast<int32_t>(row * options.sequence_length));
  }
}

absl::StatusOr<BatchFeed> BatchFeed::Create(const BatchFeedOptions& options, MemoryLedger& ledger) {
  HETERO_RETURN_IF_ERROR(
      data::Validate({.global_batch_size = options.batch.global_batch_size,
                      .samples_per_microbatch = options.batch.samples_per_microbatch()},
                     options.position));
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
    constexpr int64_t kAlignment = Buffer::kAlignment;
    bytes += (tensor.num_bytes() + kAlignment - 1) / kAlignment * kAlignment;
  };
  if (options_.reads_tokens) {
    for (TensorView* tensor : {&tensors.text_tokens, &tensors.text_positions,
                               &tensors.loss_positions, &tensors.loss_targets}) {
      place(*tensor, DType::kI32, {num_tokens()});
    }
    place(tensors.loss_weights, DType::kF32, {num_tokens()});
    place(tensors.modality_positions, DType::kI32, {max_rows()});
    place(tensors.token_offsets, DType::kI32, {num_samples_ + 1});
  }
  if (options_.reads_patches) {
    place(tensors.patches, options_.storage, {max_patches(), options_.limits.patch_elements});
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
    slot.sizes.reserve(num_samples_ * options_.limits.images.size());
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

void BatchFeed::PublishTokens(Slot& slot, int64_t num_image_tokens, int64_t num_loss_tokens) {
  const Tensors& tensors = slot.tensors;
  const int64_t num_text_tokens = num_tokens() - num_image_tokens;
  slot.modality_view = tensors.modality_positions.Rows(0, num_image_tokens);
  slot.token_batch = {.sequences = {.num_rows = num_samples_,
                                    .row_length = options_.sequence_length,
                                    .cu_seqlens = cu_seqlens_,
                                    .sequence_index = {},
                                    .token_offsets = slot.token_offsets,
                                    .device_token_offsets = tensors.token_offsets},
                      .text_tokens = tensors.text_tokens.Rows(0, num_text_tokens),
                      .text_positions = tensors.text_positions.Rows(0, num_text_tokens),
                      .modality_positions = {},
                      .loss_positions = tensors.loss_positions.Rows(0, num_loss_tokens),
                      .loss_targets = tensors.loss_targets.Rows(0, num_loss_tokens),
                      .loss_weights = tensors.loss_weights.Rows(0, num_loss_tokens)};
  if (options_.image_token_id) slot.token_batch.modality_positions = {&slot.modality_view, 1};
}

void BatchFeed::PublishImages(Slot& slot, int64_t num_patches) {
  slot.image_batch = {.patches = {}, .sizes = slot.sizes};
  if (options_.reads_patches) slot.image_batch.patches = slot.tensors.patches.Rows(0, num_patches);
}

void BatchFeed::FillShapes() {
  for (MicrobatchFacts& facts : facts_) {
    facts.samples.assign(layout_.samples_per_microbatch, LargestSample());
  }
  for (Slot& slot : slots_) {
    if (options_.reads_tokens) {
      slot.token_offsets = cu_seqlens_;
      PublishTokens(slot, max_rows(), num_tokens());
    }
    if (!options_.reads_patches && !options_.reads_image_sizes) continue;
    for (int64_t i = 0; i < num_samples_; ++i) {
      slot.sizes.insert(slot.sizes.end(), options_.limits.images.begin(),
                        options_.limits.images.end());
    }
    PublishImages(slot, max_patches());
  }
}

data::LoaderOptions BatchFeed::LoaderFrom(int64_t step) const {
  return {.order = options_.samples->order,
          .layout = layout_,
          .position = options_.position,
          .first_step = step,
          .prefetch_depth = kPrefetchDepth};
}

template <typename Batch, typename Make>
absl::StatusOr<data::BatchLease<Batch>> BatchFeed::Take(Reader<Batch>& reader, int64_t step,
                                                        int microbatch, Make make) {
  const int64_t first = step * layout_.NumMicrobatches();
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
    if (options_.reads_patches) {
      HETERO_RETURN_IF_ERROR(LoadImages(loaded, host, step, microbatch)).With(lane());
    } else if (options_.reads_image_sizes) {
      HETERO_RETURN_IF_ERROR(LoadImageSizes(loaded, step, microbatch)).With(lane());
    }
    if (staging != nullptr) {
      HETERO_RETURN_IF_ERROR(CopyToSlot(host, loaded, stream));
      HETERO_RETURN_IF_ERROR(staging->copied.Record(stream));
    }
  }
  const bool images = options_.reads_patches || options_.reads_image_sizes;
  return FeedInput{.tokens = options_.reads_tokens ? &loaded.token_batch : nullptr,
                   .images = images ? &loaded.image_batch : nullptr};
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
    HETERO_RETURN_IF_ERROR(
        copy(host.modality_positions, device.modality_positions, slot.modality_view));
    HETERO_RETURN_IF_ERROR(
        copy(host.token_offsets, device.token_offsets, tokens.sequences.device_token_offsets));
  }
  if (!options_.reads_patches) return absl::OkStatus();
  return copy(host.patches, device.patches, slot.image_batch.patches);
}

absl::Status BatchFeed::LoadTokens(Slot& slot, const Tensors& host, int64_t step, int microbatch) {
  const int32_t image_id = ImageTokenId(options_);
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, LaneFacts(step, microbatch));
  HETERO_ASSIGN_OR_RETURN(
      const data::BatchLease<data::LanguageBatch> batch,
      Take(language_, step, microbatch, [&](auto source, const data::LoaderOptions& loader) {
        return data::MakeLanguageLoader(std::move(source), loader,
                                        {.sequence_length = options_.sequence_length,
                                         .vocabulary_size = options_.vocabulary_size,
                                         .image_id = image_id,
                                         .pad_id = static_cast<int32_t>(options_.pad_token_id)});
      }));

  const int64_t length = options_.sequence_length;
  const auto text_tokens = host.text_tokens.values<int32_t>();
  const auto text_positions = host.text_positions.values<int32_t>();
  const auto modality_positions = host.modality_positions.values<int32_t>();
  int64_t num_text = 0;
  int64_t num_image = 0;
  for (int64_t row = 0; row < num_samples_; ++row) {
    const int32_t* tokens = batch->tokens.data() + row * length;
    const int64_t placeholders = std::count(tokens, tokens + length, image_id);
    if (placeholders != facts[row].num_image_tokens) {
      return absl::InvalidArgumentError(absl::StrCat(
          "step ", step, ", microbatch ", microbatch, ": sample ",
          SampleName(step, microbatch, row), " has ", placeholders,
          " image tokens in its text, its images give ", facts[row].num_image_tokens, " rows"));
    }
    for (int64_t position = 0; position < length; ++position) {
      const auto t = static_cast<int32_t>(row * length + position);
      if (tokens[position] == image_id) {
        modality_positions[num_image++] = t;
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
  PublishTokens(slot, num_image, num_loss);
  return absl::OkStatus();
}

absl::Status BatchFeed::LoadImages(Slot& slot, const Tensors& host, int64_t step, int microbatch) {
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, LaneFacts(step, microbatch));
  HETERO_ASSIGN_OR_RETURN(
      const data::BatchLease<data::ImageBatch> batch,
      Take(images_, step, microbatch, [](auto source, const data::LoaderOptions& loader) {
        return data::MakeImageLoader(std::move(source), loader);
      }));
  const auto context = [&] {
    return absl::StrCat("step ", step, ", microbatch ", microbatch, ": ");
  };
  for (int64_t i = 0; i < num_samples_; ++i) {
    if (batch->num_image_tokens[i] == facts[i].num_image_tokens) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        context(), "sample ", SampleName(step, microbatch, i), " has images of ",
        batch->num_image_tokens[i], " tokens, its metadata say ", facts[i].num_image_tokens));
  }
  if (batch->NumPatches() > max_patches()) {
    return absl::InvalidArgumentError(absl::StrCat(context(), "images of ", batch->NumPatches(),
                                                   " patches, the run is sized for ",
                                                   max_patches()));
  }
  if (options_.storage == DType::kBF16) {
    std::ranges::transform(batch->patches, host.patches.data<BFloat16>(),
                           [](float value) { return BFloat16(value); });
  } else {
    std::ranges::copy(batch->patches, host.patches.data<float>());
  }
  slot.sizes.assign(batch->sizes.begin(), batch->sizes.end());
  PublishImages(slot, batch->NumPatches());
  return absl::OkStatus();
}

absl::Status BatchFeed::LoadImageSizes(Slot& slot, int64_t step, int microbatch) {
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, LaneFacts(step, microbatch));
  slot.sizes.clear();
  for (const SampleFacts& sample : facts) {
    slot.sizes.insert(slot.sizes.end(), sample.images.begin(), sample.images.end());
  }
  PublishImages(slot, 0);
  return absl::OkStatus();
}

SampleFacts BatchFeed::LargestSample() const {
  return {.row_length = options_.sequence_length,
          .num_image_tokens = options_.limits.max_image_tokens,
          .images = options_.limits.images};
}

absl::StatusOr<std::span<const SampleFacts>> BatchFeed::Facts(int64_t step, int microbatch) {
  MicrobatchFacts& facts = facts_.at(microbatch);
  if (!shape_only() && facts.step != step) {
    facts.step = -1;
    HETERO_RETURN_IF_ERROR(ReadFacts(step, microbatch, facts))
        .With(absl::StrCat("step ", step, ", microbatch ", microbatch));
    facts.step = step;
  }
  return facts.samples;
}

absl::Status BatchFeed::ReadFacts(int64_t step, int microbatch, MicrobatchFacts& facts) {
  const data::SampleRange range = data::MicrobatchSamples(layout_, step, microbatch);
  HETERO_RETURN_IF_ERROR(data::ReadFacts(*source_, options_.samples->order, range,
                                         options_.sequence_length, facts.samples));
  for (int64_t i = 0; i < range.size; ++i) {
    const int64_t tokens = facts.samples[i].num_image_tokens;
    if (tokens <= options_.limits.max_image_tokens) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("sample ", *options_.samples->order.DatasetIndex(range.begin + i),
                     " of the data set has images of ", tokens, " tokens, the run is sized for ",
                     options_.limits.max_image_tokens, " a sample"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::span<const SampleFacts>> BatchFeed::LaneFacts(int64_t step, int microbatch) {
  HETERO_ASSIGN_OR_RETURN(const std::span<const SampleFacts> facts, Facts(step, microbatch));
  return facts.subspan(options_.position.lane * num_samples_, num_samples_);
}

std::string BatchFeed::SampleName(int64_t step, int microbatch, int64_t lane_sample) {
  const int64_t place =
      data::LaneSamples(layout_, options_.position, step, microbatch).begin + lane_sample;
  const std::optional<int64_t> index = options_.samples->order.DatasetIndex(place);
  data::LanguageSample sample;
  if (!index || !source_->ReadLanguage(*index, sample).ok()) return absl::StrCat(place);
  return sample.name;
}

}  // namespace hetero
