#include "hetero/tensor/ops/attention/backward_tiles.h"

#include <algorithm>
#include <span>
#include <tuple>

#include "hetero/base/rounding.h"

namespace hetero::internal {
namespace {

// Tiles that run at once: the multiprocessors of an H100 or H200. A constant, since sums depend on
// the order.
constexpr int64_t kAtOnce = 132;

struct Segment {
  int32_t begin, end, ordinal;
  int32_t num_tiles() const { return CeilDiv(end - begin, kBackwardKeys); }
};

struct Item {
  BackwardTile tile;
  std::tuple<int32_t, int32_t> rank;  // in its window
};

BackwardTile TileOf(const Segment& segment, int32_t n) {
  return {.segment_begin = segment.begin,
          .segment_end = segment.end,
          .segment = segment.ordinal,
          .key_begin = segment.begin + n * kBackwardKeys,
          .turn_base = n};
}

// A tile that starts when its predecessor does waits for it in every block. What lies between them
// in the list gives the predecessor a lead of kLead blocks; more of it would only crowd the cache.
int64_t SegmentsOfFullWindow(const AttentionShape& shape, const Segment& longest, int block_rows) {
  constexpr int64_t kLead = 3;
  const int64_t steps =
      shape.heads_per_group * CeilDiv<int64_t>(longest.end - longest.begin, block_rows);
  return CeilDiv(kLead * kAtOnce, steps * shape.num_groups);
}

void AddFull(const Segment& segment, std::vector<Item>& items) {
  for (int32_t n = 0; n < segment.num_tiles(); ++n) items.push_back({TileOf(segment, n), {n, 0}});
}

// The first tiles of a segment have the most queries. Batches of tiles that run at once start their
// first one together; with the later tile in front nobody waits, because it starts further down.
// Every other batch goes the other way: who finished first gets the longer tile.
void AddCausal(const Segment& segment, int32_t batch_size, std::vector<Item>& items) {
  const int32_t num_tiles = segment.num_tiles();
  for (int32_t n = 0; n < num_tiles; ++n) {
    const int32_t batch = n / batch_size, first = batch * batch_size;
    const int32_t last = std::min(first + batch_size, num_tiles) - 1;
    const bool down = batch % 2 == 0;
    Item item = {TileOf(segment, n), {-(num_tiles - first), down ? last - n : n - first}};
    if (down) {
      item.tile.turn_base = first - n;
      item.tile.turn_limit = last;
    }
    items.push_back(item);
  }
}

// Tiles enough to balance long and short ones, and few enough for the cache.
int64_t SegmentsOfCausalWindow(const AttentionShape& shape, std::span<const Segment> segments) {
  constexpr int64_t kRounds = 4;
  int64_t tiles = 0, count = 0;
  while (count < std::ssize(segments) && tiles * shape.num_groups < kRounds * kAtOnce) {
    tiles += segments[count++].num_tiles();
  }
  return count;
}

}  // namespace

std::vector<BackwardTile> BackwardTiles(const AttentionShape& shape, int block_rows) {
  std::vector<Segment> segments;
  for (size_t s = 0; s + 1 < shape.segments.size(); ++s) {
    if (shape.segments[s] == shape.segments[s + 1]) continue;
    segments.push_back(
        {shape.segments[s], shape.segments[s + 1], static_cast<int32_t>(segments.size())});
  }
  std::ranges::stable_sort(segments, std::ranges::greater(),
                           [](const Segment& s) { return s.end - s.begin; });
  std::vector<BackwardTile> tiles;
  for (std::span<const Segment> left = segments; !left.empty();) {
    const int64_t window = std::min<int64_t>(
        std::ssize(left), shape.causal ? SegmentsOfCausalWindow(shape, left)
                                       : SegmentsOfFullWindow(shape, left.front(), block_rows));
    const auto batch_size =
        static_cast<int32_t>(std::max<int64_t>(1, kAtOnce / (shape.num_groups * window)));
    std::vector<Item> items;
    for (const Segment& segment : left.first(window)) {
      if (shape.causal) {
        AddCausal(segment, batch_size, items);
      } else {
        AddFull(segment, items);
      }
    }
    std::ranges::stable_sort(items, {}, &Item::rank);
    for (const Item& item : items) tiles.push_back(item.tile);
    left = left.subspan(window);
  }
  return tiles;
}

}  // namespace hetero::internal
