#ifndef HETERO_TRAINER_FEED_HOST_MICROBATCH_H_
#define HETERO_TRAINER_FEED_HOST_MICROBATCH_H_

// Memory of one microbatch of a lane, laid out alike on host and device, and how much of it is
// used.

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "hetero/tensor/event.h"
#include "hetero/tensor/memory.h"
#include "hetero/tensor/sample_facts.h"
#include "hetero/tensor/view.h"
#include "hetero/trainer/feed/feed_options.h"

namespace hetero {

// Room for the largest microbatch; the first rows of each tensor are in use. Null where nothing is
// read.
struct MicrobatchTensors {
  // i32 and, weights, f32, each of all tokens
  TensorView text_tokens;
  TensorView text_positions;
  TensorView loss_positions;
  TensorView loss_targets;
  TensorView loss_weights;
  std::vector<TensorView> modality_positions;  // of each edge, i32[max_own_rows]
  TensorView token_offsets;                    // i32[num_samples + 1]
  TensorView sequence_index;                   // i32[num_tokens]; null where no rows are packed
  std::vector<TensorView> features;            // of each modality that is read, in storage type:
                                               // [max_features, width]
};

// Bytes of the memory that LayOut takes.
int64_t MicrobatchBytes(const BatchFeedOptions& options);

// Of `memory`, which is aligned as a Buffer.
MicrobatchTensors LayOut(const BatchFeedOptions& options, void* memory);

// Rows in use, and what the host itself must know of a microbatch.
struct MicrobatchUse {
  int64_t num_text_tokens = 0;
  int64_t num_loss_tokens = 0;
  std::vector<int64_t> placeholders;          // of each edge, those that this rank owns
  std::vector<int32_t> token_offsets;         // [num_samples + 1]
  std::vector<int32_t> cu_seqlens;            // of rows, or of the samples that share them
  std::vector<int64_t> num_features;          // of each modality that is read
  std::vector<std::vector<MediaSize>> sizes;  // of each modality that is read
  bool has_media = false;                     // of what is read a sample of this lane has some
};

// Of the largest possible microbatch.
MicrobatchUse LargestUse(const BatchFeedOptions& options);

// A microbatch on the host. Move-only.
struct HostMicrobatch {
  // On a GPU of pinned memory; else of the device's, label kData.
  // Errors: those of Buffer, PinnedBuffer and Event.
  static absl::StatusOr<HostMicrobatch> Create(const BatchFeedOptions& options,
                                               MemoryLedger& ledger);

  Buffer memory;
  PinnedBuffer pinned;
  MicrobatchTensors tensors;
  MicrobatchUse use;
  Event copied;  // what was copied from `pinned` last
};

}  // namespace hetero

#endif  // HETERO_TRAINER_FEED_HOST_MICROBATCH_H_
