#include "hetero/trainer/feed/feed.h"

#include <cstddef>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/str_cat.h"
#include "hetero/base/status.h"
#include "hetero/data/source.h"
#include "hetero/tensor/copy.h"
#include "hetero/tensor/device.h"

namespace hetero {
namespace {

// Microbatches that the host makes ahead of those in slots: one hides the time of a microbatch, the
// second its spread. They also give copies to a GPU the time to pass before their memory comes
// round again.
constexpr int kMadeAhead = 2;

bool ReadsAnything(const BatchFeedOptions& options) {
  return options.reads_tokens || !options.reads.empty();
}

// Counted over the run.
int64_t FirstMicrobatch(const data::BatchLayout& batch, int64_t step) {
  return batch.FirstSample(step) / batch.samples_per_microbatch;
}

int RingSize(const BatchFeedOptions& options) {
  return ReadsAnything(options) ? options.num_slots + kMadeAhead : 0;
}

}  // namespace

BatchFeed::BatchFeed(std::shared_ptr<const BatchFeedOptions> options,
                     std::unique_ptr<LoaderWatch> watch, std::shared_ptr<MediaShares> shares,
                     CountedFacts facts)
    : options_(std::move(options)),
      watch_(std::move(watch)),
      shares_(std::move(shares)),
      facts_(std::move(facts)),
      slots_(options_->num_slots) {
  for (Slot& slot : slots_) {
    slot.modality_positions.resize(options_->edges.size());
    slot.modalities.resize(options_->reads.size());
  }
}

absl::StatusOr<BatchFeed> BatchFeed::Create(const BatchFeedOptions& options, MemoryLedger& ledger) {
  HETERO_RETURN_IF_ERROR(data::Validate(options.batch, options.position));
  const bool shapes_only = options.device.kind == DeviceKind::kShapeOnly;
  CHECK(shapes_only || options.samples.has_value());
  auto kept = std::make_shared<const BatchFeedOptions>(options);
  if (!options.samples.has_value()) {
    BatchFeed feed(kept, nullptr, nullptr, CountedFacts::OfLargest(kept));
    HETERO_RETURN_IF_ERROR(feed.Predict(ledger));
    return feed;
  }
  auto watch = std::make_unique<LoaderWatch>(*options.samples, options.loader_timeout);
  std::shared_ptr<MediaShares> shares;
  if (options.balanced.has_value() && !shapes_only) {
    // Steps grow: the first has the fewest microbatches.
    const int64_t of_step = options.batch.SizeOf(0) / options.batch.samples_per_microbatch;
    const auto steps_ahead = static_cast<int>((options.num_slots + kMadeAhead) / of_step);
    HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, watch->Open());
    shares = std::make_shared<MediaShares>(kept, std::move(source), steps_ahead + 2);
  }
  HETERO_ASSIGN_OR_RETURN(CountedFacts facts, CountedFacts::Create(kept, shares, *watch));
  BatchFeed feed(std::move(kept), std::move(watch), std::move(shares), std::move(facts));
  if (!shapes_only) {
    HETERO_RETURN_IF_ERROR(feed.Allocate(ledger));
    return feed;
  }
  HETERO_RETURN_IF_ERROR(feed.Predict(ledger));
  HETERO_RETURN_IF_ERROR(feed.CountSamples());
  return feed;
}

absl::Status BatchFeed::Predict(MemoryLedger& ledger) {
  const Device device = options_->device;
  const int64_t bytes = MicrobatchBytes(*options_);
  const int count = device.IsCuda() ? options_->num_slots : RingSize(*options_);
  for (int i = 0; i < count; ++i) {
    HETERO_ASSIGN_OR_RETURN(Buffer memory,
                            Buffer::Allocate(device, MemoryLabel::kData, bytes, ledger));
    predicted_.push_back(std::move(memory));
  }
  for (int i = 0; device.IsCuda() && i < RingSize(*options_); ++i) {
    HETERO_ASSIGN_OR_RETURN(PinnedBuffer memory, PinnedBuffer::Allocate(device, bytes, ledger));
    predicted_staging_.push_back(std::move(memory));
  }
  largest_ = LargestUse(*options_);
  for (Slot& slot : slots_) {
    slot.tensors = LayOut(*options_, reinterpret_cast<void*>(kShapeOnlyAddress));
    Publish(slot.tensors, largest_, slot);
  }
  return absl::OkStatus();
}

absl::Status BatchFeed::CountSamples() {
  if (!ReadsAnything(*options_)) return absl::OkStatus();
  auto on_host = std::make_shared<BatchFeedOptions>(*options_);
  on_host->device = Device{};
  counter_ = std::make_unique<Counter>();
  HETERO_ASSIGN_OR_RETURN(counter_->microbatch, HostMicrobatch::Create(*on_host, counter_->memory));
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, options_->samples->open());
  counter_->writer = std::make_unique<MicrobatchWriter>(std::move(on_host), std::move(source));
  return absl::OkStatus();
}

absl::Status BatchFeed::Allocate(MemoryLedger& ledger) {
  if (!ReadsAnything(*options_)) return absl::OkStatus();
  for (Slot& slot : slots_) {
    if (options_->device.kind != DeviceKind::kCuda) break;
    HETERO_ASSIGN_OR_RETURN(slot.memory, Buffer::Allocate(options_->device, MemoryLabel::kData,
                                                          MicrobatchBytes(*options_), ledger));
    slot.tensors = LayOut(*options_, slot.memory.address());
  }
  std::vector<HostMicrobatch> ring;
  for (int i = 0; i < RingSize(*options_); ++i) {
    HETERO_ASSIGN_OR_RETURN(HostMicrobatch microbatch, HostMicrobatch::Create(*options_, ledger));
    ring.push_back(std::move(microbatch));
  }
  HETERO_ASSIGN_OR_RETURN(std::unique_ptr<data::SampleSource> source, watch_->Open());
  auto write = [writer = MicrobatchWriter(options_, std::move(source), shares_),
                options = options_](int64_t n, HostMicrobatch& out) mutable {
    const data::BatchLayout& batch = options->batch;
    const int64_t step = batch.StepOf(n * batch.samples_per_microbatch);
    return writer.Write(step, static_cast<int>(n - FirstMicrobatch(batch, step)), out);
  };
  HETERO_ASSIGN_OR_RETURN(
      prefetcher_, data::Prefetcher<HostMicrobatch>::Create(std::move(ring), std::move(write)));
  if (options_->samples->quarantine == nullptr) return absl::OkStatus();
  HETERO_ASSIGN_OR_RETURN(probe_, SampleProbe::Create(options_, *watch_));
  return absl::OkStatus();
}

void BatchFeed::ReadAnew() {
  // In this order: the thread behind the prefetcher asks for shares.
  if (shares_ != nullptr) shares_->Forget();
  facts_.Forget();
  if (prefetcher_ != nullptr) prefetcher_->Drop();
}

absl::StatusOr<FeedInput> BatchFeed::Load(int slot, int64_t step, int microbatch, Stream& stream) {
  Slot& loaded = slots_.at(slot);
  if (counter_ != nullptr) {
    HETERO_RETURN_IF_ERROR(counter_->writer->Write(step, microbatch, counter_->microbatch));
    loaded.use = counter_->microbatch.use;
    Publish(loaded.tensors, loaded.use, loaded);
  }
  if (prefetcher_ != nullptr) {
    loaded.host = nullptr;
    absl::StatusOr<data::BatchLease<HostMicrobatch>> host = prefetcher_->Take(
        FirstMicrobatch(options_->batch, step) + microbatch, watch_->check(), watch_->tick());
    HETERO_RETURN_IF_ERROR(host.status())
        .With(absl::StrCat("lane ", options_->position.lane, " of ", options_->position.num_lanes));
    loaded.host = *std::move(host);
    HostMicrobatch& prepared = *loaded.host;
    if (loaded.memory.address() == nullptr) {
      Publish(prepared.tensors, prepared.use, loaded);
    } else {
      Publish(loaded.tensors, prepared.use, loaded);
      HETERO_RETURN_IF_ERROR(CopyToSlot(prepared.tensors, loaded, stream));
      HETERO_RETURN_IF_ERROR(prepared.copied.Record(stream));
    }
  }
  return FeedInput{.tokens = options_->reads_tokens ? &loaded.tokens : nullptr,
                   .modalities = loaded.modalities,
                   .has_media = loaded.has_media};
}

void BatchFeed::Publish(const MicrobatchTensors& tensors, const MicrobatchUse& use,
                        Slot& slot) const {
  slot.has_media = use.has_media;
  if (options_->reads_tokens) {
    for (size_t e = 0; e < slot.modality_positions.size(); ++e) {
      slot.modality_positions[e] = tensors.modality_positions[e].Rows(0, use.placeholders[e]);
    }
    slot.tokens = {.sequences = {.num_rows = options_->num_samples(),
                                 .row_length = options_->sequence_length,
                                 .cu_seqlens = use.cu_seqlens,
                                 .sequence_index = tensors.sequence_index,
                                 .token_offsets = use.token_offsets,
                                 .device_token_offsets = tensors.token_offsets},
                   .text_tokens = tensors.text_tokens.Rows(0, use.num_text_tokens),
                   .text_positions = tensors.text_positions.Rows(0, use.num_text_tokens),
                   .modality_positions = slot.modality_positions,
                   .loss_positions = tensors.loss_positions.Rows(0, use.num_loss_tokens),
                   .loss_targets = tensors.loss_targets.Rows(0, use.num_loss_tokens),
                   .loss_weights = tensors.loss_weights.Rows(0, use.num_loss_tokens)};
  }
  for (size_t read = 0; read < slot.modalities.size(); ++read) {
    slot.modalities[read] = {.features = {}, .sizes = use.sizes[read]};
    if (!options_->reads_features) continue;
    slot.modalities[read].features = tensors.features[read].Rows(0, use.num_features[read]);
  }
}

absl::Status BatchFeed::CopyToSlot(const MicrobatchTensors& host, const Slot& slot,
                                   Stream& stream) const {
  const auto copy = [&](const TensorView& from, const TensorView& to, const ConstTensorView& used) {
    const int64_t rows = used.dim(0);
    return CopyToDevice(from.Rows(0, rows), to.Rows(0, rows), stream);
  };
  const MicrobatchTensors& device = slot.tensors;
  const TokenBatch& tokens = slot.tokens;
  if (options_->reads_tokens) {
    HETERO_RETURN_IF_ERROR(copy(host.text_tokens, device.text_tokens, tokens.text_tokens));
    HETERO_RETURN_IF_ERROR(copy(host.text_positions, device.text_positions, tokens.text_positions));
    HETERO_RETURN_IF_ERROR(copy(host.loss_positions, device.loss_positions, tokens.loss_positions));
    HETERO_RETURN_IF_ERROR(copy(host.loss_targets, device.loss_targets, tokens.loss_targets));
    HETERO_RETURN_IF_ERROR(copy(host.loss_weights, device.loss_weights, tokens.loss_weights));
    for (size_t e = 0; e < slot.modality_positions.size(); ++e) {
      HETERO_RETURN_IF_ERROR(copy(host.modality_positions[e], device.modality_positions[e],
                                  slot.modality_positions[e]));
    }
    HETERO_RETURN_IF_ERROR(
        copy(host.token_offsets, device.token_offsets, tokens.sequences.device_token_offsets));
    if (!host.sequence_index.is_null()) {
      HETERO_RETURN_IF_ERROR(
          copy(host.sequence_index, device.sequence_index, tokens.sequences.sequence_index));
    }
  }
  for (size_t read = 0; options_->reads_features && read < options_->reads.size(); ++read) {
    HETERO_RETURN_IF_ERROR(
        copy(host.features[read], device.features[read], slot.modalities[read].features));
  }
  return absl::OkStatus();
}

}  // namespace hetero
