#include "hetero/tensor/ops/attention/head_batches.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>

#include "hetero/base/rounding.h"
#include "hetero/tensor/dtype.h"
#include "hetero/tensor/memory.h"

namespace hetero::internal {
namespace {

constexpr int64_t kShortest = 128;  // rows of the library's tiles
constexpr int64_t kLong = 4096;     // up to here lengths are padded to powers of two
constexpr int64_t kLonger = 8192;
constexpr int64_t kLongStep = 1024;   // from kLong to kLonger to multiples of this
constexpr int64_t kLongerStep = 512;  // and beyond, where bytes are short, of this

constexpr int64_t kCallBytes = 24 << 10;

int64_t CeilPowerOfTwo(int64_t n) { return std::bit_ceil(static_cast<uint64_t>(n)); }
int64_t FloorPowerOfTwo(int64_t n) { return std::bit_floor(static_cast<uint64_t>(n)); }

int64_t PaddedLength(int64_t length) {
  if (length > kLonger) return RoundUp(length, kLongerStep);
  if (length > kLong) return RoundUp(length, kLongStep);
  return CeilPowerOfTwo(std::max(length, kShortest));
}

// The padded length below: what is padded to `length` is longer than this.
int64_t Below(int64_t length) {
  if (length > kLonger) return length - kLongerStep;
  if (length > kLong) return length - kLongStep;
  return length > kShortest ? length / 2 : 0;
}

}  // namespace

HeadBatches::HeadBatches(const AttentionShape& shape, bool backward)
    : segments_(shape.segments),
      causal_(shape.causal),
      backward_(backward),
      heads_(shape.num_groups * shape.heads_per_group),
      tokens_(CeilPowerOfTwo(std::max<int64_t>(shape.segments.back(), kShortest))) {
  const int64_t longest = PaddedLength(shape.segments.back());
  num_parts_ = NumParts(longest);
  if (backward && shape.heads_per_group * num_parts_ > 1) {
    partial_columns_ = heads_ * num_parts_ * 2 * shape.head_size;
    reserved_bytes_ = longest * partial_columns_ * SizeOf(DType::kBF16);
  }
  for (int64_t length = longest; length > 0; length = Below(length)) {
    const Lengths padded = {PaddedLength(CeilDiv(length, NumParts(length))), length};
    const Room room = RoomOf(padded);
    max_capacity_ = std::max({max_capacity_, room.capacity, room.capacity_alone});
    library_bytes_ = std::max({library_bytes_, room.num_lanes * LaneBytes(padded, room.capacity),
                               LaneBytes(padded, room.capacity_alone)});
  }
}

// Keys of all queries are in one call, so backward's bytes grow with the square of a segment. A
// causal part would see another number of keys than it has queries.
int64_t HeadBatches::NumParts(int64_t padded_length) const {
  constexpr int64_t kMaxRows = 9216;
  return backward_ && !causal_ ? CeilDiv(padded_length, kMaxRows) : 1;
}

// The gradients of the scores in bf16, a sum of each query's row, and descriptors.
int64_t HeadBatches::EntryBytes(const Lengths& padded) const {
  constexpr int64_t kDescriptors = 512;
  return kDescriptors +
         (backward_ ? 2 * padded.queries * padded.keys + 4 * padded.queries : int64_t{0});
}

int64_t HeadBatches::LaneBytes(const Lengths& padded, int64_t capacity) const {
  return Buffer::AlignedBytes(capacity * EntryBytes(padded) + kCallBytes);
}

HeadBatches::Room HeadBatches::RoomOf(const Lengths& padded) const {
  constexpr int64_t kMaxEntries = 256;  // of the shortest length enough to fill a GPU
  const int64_t pieces = tokens_ / (Below(padded.keys) + 1) * NumParts(padded.keys);
  const int64_t wanted =
      std::min({kMaxEntries, pieces * heads_, (HeadBatch::kMaxPieces - 1) * heads_});
  if (!backward_) return {kMaxLanes, wanted, wanted};
  const int64_t bytes = kMaxBytes - reserved_bytes_ - kMaxLanes * kCallBytes;
  const int64_t room = std::max<int64_t>(1, bytes / EntryBytes(padded));
  const int num_lanes = static_cast<int>(std::min<int64_t>(kMaxLanes, room));
  // Powers of two: the tokens of a step, on which the room depends, do not change many capacities.
  const auto capacity = [&](int64_t entries) {
    return std::min(wanted, entries > 4 ? FloorPowerOfTwo(entries) : entries);
  };
  return {num_lanes, capacity(room / num_lanes), capacity(room)};
}

std::vector<HeadBatch> HeadBatches::Cut() const {
  // The longest first: what is left at the end is short.
  std::map<Lengths, std::vector<SegmentPiece>, std::greater<>> of_lengths;
  for (size_t s = 0; s + 1 < segments_.size(); ++s) {
    const int32_t length = segments_[s + 1] - segments_[s];
    if (length == 0) continue;
    const int64_t padded = PaddedLength(length);
    const auto parts = static_cast<int32_t>(NumParts(padded));
    const int64_t padded_queries = PaddedLength(CeilDiv(padded, parts));
    const auto rows = static_cast<int32_t>(CeilDiv(length, parts));
    for (int32_t part = 0; part < parts; ++part) {
      const int32_t begin = part * rows;
      of_lengths[{padded_queries, padded}].push_back({.begin = segments_[s] + begin,
                                                      .length = std::min(rows, length - begin),
                                                      .key_begin = segments_[s],
                                                      .key_length = length,
                                                      .part = part});
    }
  }
  std::vector<HeadBatch> batches;
  for (const auto& [padded, pieces] : of_lengths) {
    const Room room = RoomOf(padded);
    const auto num_pieces = static_cast<int64_t>(pieces.size());
    const int64_t entries = num_pieces * heads_;
    const bool alone = of_lengths.size() == 1 && entries <= room.capacity_alone;
    // What a plan has room for and does not get costs a little time as well.
    const int64_t capacity =
        std::min(alone ? room.capacity_alone : room.capacity, CeilPowerOfTwo(num_pieces) * heads_);
    const int64_t num_batches = CeilDiv(entries, capacity);
    for (int64_t b = 0; b < num_batches; ++b) {
      const int64_t begin = b * entries / num_batches;
      const int64_t end = (b + 1) * entries / num_batches;
      batches.push_back(
          {.length = padded.queries,
           .key_length = padded.keys,
           .capacity = capacity,
           .num_lanes = alone ? 1 : room.num_lanes,
           .pieces = {pieces.begin() + begin / heads_, pieces.begin() + CeilDiv(end, heads_)},
           .first_head = begin % heads_,
           .num_entries = end - begin});
    }
  }
  std::ranges::stable_sort(batches, {}, &HeadBatch::num_lanes);
  for (size_t b = 0; b < batches.size(); ++b) {
    batches[b].lane = static_cast<int>(b) % batches[b].num_lanes;
  }
  return batches;
}

}  // namespace hetero::internal
