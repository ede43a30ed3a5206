#ifndef HETERO_TRAINER_FEED_FEED_H_
#define HETERO_TRAINER_FEED_FEED_H_

// Brings a lane's samples to the device: each microbatch in the buffers of a slot, made ahead of
// its use in the background, and the facts of all samples from which rows are counted.
//
// Threads of a feed do all work of the host: one reads facts, another reads and checks samples and
// writes what the stage reads, in the types that it reads, into a ring of host memory. On the CPU a
// slot is a place of that ring. A GPU's slots are filled from it in stream order; the host waits
// for a copy only when it is more microbatches ahead of the GPU than the ring has places.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "hetero/data/prefetcher.h"
#include "hetero/data/sample_order.h"
#include "hetero/models/stage.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/tensor/stream.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/checked_facts.h"
#include "hetero/trainer/feed/counted_facts.h"
#include "hetero/trainer/feed/feed_options.h"
#include "hetero/trainer/feed/host_microbatch.h"
#include "hetero/trainer/feed/loader_watch.h"
#include "hetero/trainer/feed/media_shares.h"
#include "hetero/trainer/feed/microbatch_writer.h"
#include "hetero/trainer/feed/sample_probe.h"

namespace hetero {

// What a stage reads of a microbatch; null where it reads nothing.
struct FeedInput {
  const TokenBatch* tokens = nullptr;
  std::span<const ModalityBatch> modalities;  // by BatchFeedOptions::reads
  // Whether samples of this lane have media of these, whichever lane's batch they are in.
  bool has_media = false;
};

// One thread uses a feed.
//
// On the shape-only device every microbatch is the largest possible one: it has as much of every
// modality as the limits allow. Where it is given samples it has as much as they have, and they are
// read and checked when they are loaded.
class BatchFeed {
 public:
  // Allocates all memory: that of the slots, label kData, and of the microbatches made ahead, on a
  // GPU as kHostStaging. The shape-only device counts what the one that it predicts would. `ledger`
  // outlives the feed.
  // Errors: INVALID_ARGUMENT when lanes do not divide the microbatch; those of Buffer, of the
  // source and of StartThread.
  static absl::StatusOr<BatchFeed> Create(const BatchFeedOptions& options, MemoryLedger& ledger);

  // Fills `slot` with a microbatch of this lane, in the order of `stream`; it stays until the slot
  // is loaded again. What is asked for in the order of (step, microbatch) was prepared before; any
  // other request starts reading anew from there.
  // Errors: those of MicrobatchWriter and LoaderWatch, with the lane.
  absl::StatusOr<FeedInput> Load(int slot, int64_t step, int microbatch, Stream& stream);

  // Of samples `range` of the whole microbatch, in order: the same on both ends of an edge.
  // Behind the end of a one-pass order there are no media. Valid until this microbatch of another
  // step is asked for. Precondition: they are this lane's or in BatchFeedOptions::counted.
  // Errors: those of CountedFacts.
  absl::StatusOr<std::span<const SampleFacts>> Facts(int64_t step, int microbatch,
                                                     data::SampleRange range) {
    return facts_.Of(step, microbatch, range);
  }

  // Which lane has which media of a microbatch, by its samples as Facts has all of them; null where
  // media stay with their samples, as on the shape-only device. Valid as Facts. Errors: those of
  // MediaShares.
  absl::StatusOr<const MicrobatchShares*> Shares(int64_t step, int microbatch) {
    return facts_.Shares(step, microbatch);
  }

  // Numbers of this lane's samples of `step` that are not in quarantine and cannot be read as its
  // stage reads them, ascending, each once. Waits until they were all read; none where samples have
  // no quarantine. Errors: those of SampleProbe.
  absl::StatusOr<std::vector<int64_t>> BadSamples(int64_t step) {
    if (probe_ == nullptr) return std::vector<int64_t>();
    return probe_->Bad(step);
  }

  // What was read ahead is read anew: samples have come into quarantine. Microbatches in slots
  // stay.
  void ReadAnew();

  // What bounds sample `sample` of every microbatch of the run.
  SampleFacts LargestSample(int64_t sample) const {
    return hetero::LargestSample(*options_, sample);
  }

 private:
  struct Slot {
    Buffer memory;              // of a GPU
    MicrobatchTensors tensors;  // in `memory`
    data::BatchLease<HostMicrobatch> host;
    MicrobatchUse use;                                // of a counted microbatch
    std::vector<ConstTensorView> modality_positions;  // of each edge
    TokenBatch tokens;
    std::vector<ModalityBatch> modalities;  // of each that is read
    bool has_media = false;
  };

  // Reads microbatches on the host for a shape-only device.
  struct Counter {
    MemoryLedger memory;
    HostMicrobatch microbatch;
    std::unique_ptr<MicrobatchWriter> writer;
  };

  BatchFeed(std::shared_ptr<const BatchFeedOptions> options, std::unique_ptr<LoaderWatch> watch,
            std::shared_ptr<MediaShares> shares, CountedFacts facts);

  absl::Status Predict(MemoryLedger& ledger);
  // Makes Load count samples on the shape-only device.
  absl::Status CountSamples();
  absl::Status Allocate(MemoryLedger& ledger);
  // Points the slot's batches at what is used of `tensors`.
  void Publish(const MicrobatchTensors& tensors, const MicrobatchUse& use, Slot& slot) const;
  // To what the slot's batches point at.
  absl::Status CopyToSlot(const MicrobatchTensors& host, const Slot& slot, Stream& stream) const;

  std::shared_ptr<const BatchFeedOptions> options_;
  std::unique_ptr<LoaderWatch> watch_;   // null where there are no samples
  std::shared_ptr<MediaShares> shares_;  // null where media stay with their samples
  CountedFacts facts_;
  std::vector<Slot> slots_;
  std::unique_ptr<data::Prefetcher<HostMicrobatch>> prefetcher_;  // null where nothing is read
  std::unique_ptr<SampleProbe> probe_;                            // null likewise, or without use

  // Of the shape-only device.
  std::vector<Buffer> predicted_;
  std::vector<PinnedBuffer> predicted_staging_;
  MicrobatchUse largest_;
  std::unique_ptr<Counter> counter_;  // null: all are the largest
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_FEED_H_
