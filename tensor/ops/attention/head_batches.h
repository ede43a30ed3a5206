#ifndef HETERO_TENSOR_OPS_ATTENTION_HEAD_BATCHES_H_
#define HETERO_TENSOR_OPS_ATTENTION_HEAD_BATCHES_H_

// Cuts a pack of segments into calls of a library that takes a batch of sequences padded to common
// lengths. An entry of a batch is one query head of one segment, or of a part of its queries: its
// rows are found by an offset, so that neither interleaved groups nor shared keys need a copy.
//
// What a call's plan depends on, its lengths and its capacity, follows from coarse steps of the
// tokens' and the segments' numbers and so returns from step to step. Backward's library needs 2
// bytes for every pair of padded rows: what runs at once stays below kMaxBytes. Calls go to lanes,
// streams that run side by side: the end of one, when a GPU runs dry, is the middle of another.

#include <cstdint>
#include <span>
#include <vector>

#include "hetero/tensor/ops/attention/attention_shape.h"

namespace hetero::internal {

// Queries [begin, begin + length) and keys [key_begin, key_begin + key_length) of one segment.
struct SegmentPiece {
  int32_t begin = 0;
  int32_t length = 0;
  int32_t key_begin = 0;
  int32_t key_length = 0;
  int32_t part = 0;  // of the segment's queries
};

struct HeadBatch {
  // Most pieces of a batch: a kernel takes them as one argument.
  static constexpr int kMaxPieces = 160;

  int64_t length = 0;      // rows the queries are padded to
  int64_t key_length = 0;  // and the keys
  int64_t capacity = 0;    // entries that the plan has room for
  int num_lanes = 1;       // of the batch and its neighbours with as many
  int lane = 0;
  // The entries are the heads of the pieces, one piece after the other, without the first
  // `first_head` of the first piece; `num_entries` in all.
  std::vector<SegmentPiece> pieces;
  int64_t first_head = 0;
  int64_t num_entries = 0;
};

class HeadBatches {
 public:
  // Workspace of an operation, unless a single entry needs more.
  static constexpr int64_t kMaxBytes = int64_t{1} << 30;

  static constexpr int kMaxLanes = 3;

  // Precondition: a validated shape of at least one token, of which Cut reads the segments.
  HeadBatches(const AttentionShape& shape, bool backward);

  // Upper bounds over all ways to cut as many tokens into segments. The first is for all lanes
  // together, which share it in equal parts.
  int64_t library_bytes() const { return library_bytes_; }
  int64_t max_capacity() const { return max_capacity_; }

  // Each query head of each segment that is not empty, once; batches of equal num_lanes follow one
  // another.
  std::vector<HeadBatch> Cut() const;

  // Parts that the queries of the longest possible segment are cut into.
  int64_t num_parts() const { return num_parts_; }

  // Heads that share a key, and parts, have a gradient each of key and value: backward keeps them
  // beside the library's bytes, inside of kMaxBytes, in a row of so many bf16 elements a token. 0:
  // there is one.
  int64_t partial_columns() const { return partial_columns_; }

 private:
  struct Lengths {
    int64_t queries, keys;
    auto operator<=>(const Lengths&) const = default;
  };
  struct Room {
    int num_lanes;
    int64_t capacity;        // of a call in each lane
    int64_t capacity_alone;  // of a call that runs alone
  };

  int64_t NumParts(int64_t padded_length) const;
  int64_t EntryBytes(const Lengths& padded) const;
  int64_t LaneBytes(const Lengths& padded, int64_t capacity) const;
  Room RoomOf(const Lengths& padded) const;

  std::span<const int32_t> segments_;
  bool causal_;
  bool backward_;
  int64_t heads_;
  int64_t tokens_;  // rounded up to a power of two
  int64_t num_parts_ = 1;
  int64_t partial_columns_ = 0;
  int64_t reserved_bytes_ = 0;
  int64_t library_bytes_ = 0;
  int64_t max_capacity_ = 0;
};

}  // namespace hetero::internal

#endif  // HETERO_TENSOR_OPS_ATTENTION_HEAD_BATCHES_H_
