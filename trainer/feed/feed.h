#ifndef HETERO_TRAINER_FEED_FEED_H_
#define HETERO_TRAINER_FEED_FEED_H_

// Brings a lane's samples to the device: each microbatch in the buffers of a slot, made ahead of
// its use in the background, and the facts of all samples from which rows are counted.
//
// A GPU's slots are filled in stream order from staging memory on the host, of which there is more
// than slots: the host waits for a copy only when it is that many microbatches ahead of the GPU.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/batch.h"
#include "hetero/data/loader.h"
#include "hetero/data/prefetcher.h"
#include "hetero/data/sample_order.h"
#include "hetero/data/source.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/sequence_batch.h"
#include "hetero/tensor/stream.h"
#include "hetero/trainer/feed/samples.h"

namespace hetero {

struct BatchFeedOptions {
  // What the stage reads; with none there are facts only.
  bool reads_tokens = false;
  std::vector<int> reads = {};  // modalities, their sizes
  bool reads_features = false;  // of these, and not the sizes alone

  std::vector<Modality> modalities = {};  // of the model
  std::vector<int> edges = {};            // modality of each edge into the module, in their order
  data::LanePosition position;            // of the rank in the stage's grid
  // Samples of a microbatch of the run whose facts are wanted, beside this lane's.
  std::vector<data::SampleRange> counted = {};
  data::BatchLayout batch;
  int64_t sequence_length = 0;  // S
  int64_t vocabulary_size = 0;
  int64_t pad_token_id = 0;
  int num_slots = 1;  // microbatches in flight
  Device device;
  DType storage = DType::kF32;  // of features: what the model computes in
  SampleLimits limits;
  std::optional<SampleSet> samples;  // unset on the shape-only device
};

// What a stage reads of a microbatch; null where it reads nothing.
struct FeedInput {
  const TokenBatch* tokens = nullptr;
  std::span<const ModalityBatch> modalities;  // by BatchFeedOptions::reads
};

// One thread uses a feed.
//
// A row of S tokens is one sample: its placeholders, its text, padding. Tokens lie row after row,
// t = row * S + position. Places behind the end of a one-pass order are rows of padding without
// loss and without media.
//
// On the shape-only device every microbatch is the largest possible one: it has as much of every
// modality as the limits allow.
class BatchFeed {
 public:
  // Allocates the memory of all slots, label kData, of the same size on every device. `ledger`
  // outlives the feed.
  // Errors: INVALID_ARGUMENT when lanes do not divide the microbatch; those of Buffer and source.
  static absl::StatusOr<BatchFeed> Create(const BatchFeedOptions& options, MemoryLedger& ledger);

  // Fills `slot` with a microbatch of this lane, in the order of `stream`; it stays until the slot
  // is loaded again. What is asked for in the order of (step, microbatch) was prepared before; any
  // other request starts reading anew from there.
  // Errors: those of the source, with lane, step and microbatch; INVALID_ARGUMENT naming the sample
  // when its placeholders are not as many as its media's rows, a token is outside the vocabulary,
  // or a microbatch is above the limits.
  absl::StatusOr<FeedInput> Load(int slot, int64_t step, int microbatch, Stream& stream);

  // Of samples `range` of the whole microbatch, in order: the same on both ends of an edge.
  // Behind the end of a one-pass order there are no media. Valid until this microbatch of another
  // step is asked for. Precondition: they are this lane's or in BatchFeedOptions::counted.
  // Errors: as Load.
  absl::StatusOr<std::span<const SampleFacts>> Facts(int64_t step, int microbatch,
                                                     data::SampleRange range);

  // No sample of the run has more of anything.
  SampleFacts LargestSample() const;

  // Of this lane's microbatch.
  int64_t num_samples() const { return num_samples_; }
  int64_t max_rows(int modality) const {
    return num_samples_ * options_.limits.modalities[modality].max_tokens;
  }
  int64_t max_features(int modality) const {
    return num_samples_ * options_.limits.modalities[modality].max_features;
  }

 private:
  // What a microbatch has room in; the first rows of each are in use. Null where nothing is read.
  struct Tensors {
    // i32 and, weights, f32, each of all tokens
    TensorView text_tokens;
    TensorView text_positions;
    TensorView loss_positions;
    TensorView loss_targets;
    TensorView loss_weights;
    std::vector<TensorView> modality_positions;  // of each edge, i32[max_rows]
    TensorView token_offsets;                    // i32[num_samples + 1]
    std::vector<TensorView> features;            // of each modality, [max_features, width]
  };

  struct Slot {
    Buffer memory;
    Tensors tensors;
    std::vector<ConstTensorView> modality_views;  // of each edge
    std::vector<int32_t> token_offsets;
    std::vector<std::vector<MediaSize>> sizes;  // of each modality that is read
    TokenBatch token_batch;
    std::vector<ModalityBatch> modality_batches;
  };

  // Host memory that a slot is filled from; the slot's own where that is host memory.
  struct Staging {
    PinnedBuffer memory;
    Tensors tensors;
    Event copied;
  };

  // A loader and the number of the microbatch, counted from step 0, that it gives next.
  template <typename Batch>
  struct Reader {
    std::unique_ptr<data::Prefetcher<Batch>> loader;
    int64_t next = 0;
  };

  struct MicrobatchFacts {
    int64_t step = -1;
    std::vector<SampleFacts> samples;  // of counted_, one range after the other
  };

  explicit BatchFeed(const BatchFeedOptions& options);

  bool shape_only() const { return options_.device.kind == DeviceKind::kShapeOnly; }
  int64_t num_tokens() const { return num_samples_ * options_.sequence_length; }
  // Lays a microbatch out from `memory`, which is aligned as a Buffer; returns the bytes it takes.
  int64_t LayOut(void* memory, Tensors& tensors) const;
  absl::Status Allocate(MemoryLedger& ledger);
  absl::Status CopyToSlot(const Tensors& host, const Slot& slot, Stream& stream) const;
  // `placeholders`: of each edge.
  void PublishTokens(Slot& slot, std::span<const int64_t> placeholders, int64_t num_loss_tokens);
  // Of the modality at place `read` of what is read, here and below.
  void PublishMedia(Slot& slot, size_t read, int64_t num_features);
  absl::Status LoadSizes(Slot& slot, size_t read, int64_t step, int microbatch);
  void FillShapes();
  absl::Status LoadTokens(Slot& slot, const Tensors& host, int64_t step, int microbatch);
  absl::Status LoadMedia(Slot& slot, size_t read, const Tensors& host, int64_t step,
                         int microbatch);
  absl::Status ReadFacts(int64_t step, int microbatch, MicrobatchFacts& facts);
  // Of the sample at `place` of the run's order.
  absl::Status CheckLimits(int64_t place, const SampleFacts& sample) const;
  absl::StatusOr<std::span<const SampleFacts>> LaneFacts(int64_t step, int microbatch);
  std::string SampleName(int64_t step, int microbatch, int64_t lane_sample);
  data::LoaderOptions LoaderFrom(int64_t step) const;
  // This lane's samples of a microbatch.
  data::SampleRange own_samples() const {
    return {options_.position.lane * num_samples_, num_samples_};
  }

  template <typename Batch, typename Make>
  absl::StatusOr<data::BatchLease<Batch>> Take(Reader<Batch>& reader, int64_t step, int microbatch,
                                               Make make);

  BatchFeedOptions options_;
  int64_t num_samples_;
  std::vector<data::SampleRange> counted_;  // apart, ascending
  std::vector<int32_t> cu_seqlens_;         // of rows
  std::vector<Slot> slots_;
  std::vector<Staging> staging_;  // empty where slots are host memory
  size_t next_staging_ = 0;
  std::vector<MicrobatchFacts> facts_;          // by microbatch
  std::unique_ptr<data::SampleSource> source_;  // of facts
  Reader<data::LanguageBatch> language_;
  std::vector<Reader<data::MediaBatch>> media_;  // of each modality that is read
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_FEED_H_
